"""Series as text and pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from runner.errors import UsageError
from runner.history.steps import Segment, segments_of
from runner.history.store import Point, Series, logs_and_errors
from runner.report.console import number
from runner.results.text import printable

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 60
MAX_PICTURES = 50
COMMIT_DIGITS = 12


def lines(series: Series, last: int) -> Iterator[str]:
    """Title and the most recent results, the newest last."""
    yield printable(series.title)
    if len(series.points) > last:
        yield f"  ... {len(series.points) - last} earlier"
    for point in series.points[-last:]:
        yield f"  {value(point):24} {moment(point)}  {printable(point.run.directory)}"


def value(point: Point) -> str:
    """Speedup with its 95 % interval, or the status."""
    if point.status != "ok":
        return printable(point.status)
    if point.speedup is None:
        return "ok"
    error = f" +-{100 * math.expm1(1.96 * point.error):.1f} %" if point.error else ""
    return f"{number(point.speedup)}x{error}"


def levels(series: Sequence[Series]) -> list[list[Segment]]:
    """Levels of each series, as logs."""
    return segments_of([logs_and_errors(one.measured) for one in series])


def step_lines(series: Sequence[Series], margin: float) -> Iterator[str]:
    """A line for each step that is large enough: how large, between which two results. All series have points."""
    for one, found in zip(series, levels(series), strict=True):
        for before, after in pairwise(found):
            if abs(after.level - before.level) >= math.log1p(margin):
                yield step_line(one, before, after)


def step_line(series: Series, before: Segment, after: Segment) -> str:
    """Where and by how much the level changed."""
    change, points = math.expm1(after.level - before.level), series.measured
    kind = "regressed" if change < 0 else "improved"
    sizes = f"{number(math.exp(before.level))}x -> {number(math.exp(after.level))}x"
    where = f"between {moment(points[before.stop - 1])} and {moment(points[after.start])}"
    return f"{printable(series.title)}: {kind} {100 * change:+.1f} % ({sizes}) {where}"


def moment(point: Point) -> str:
    """When and with what a result was measured."""
    commit = f", commit {point.run.project_commit[:COMMIT_DIGITS]}" if point.run.project_commit else ""
    return f"{point.run.started} (torch {printable(point.run.torch)}{commit})"


def sparkline(series: Series) -> str:
    """One line: the title, the last speedups as bars, their range."""
    shown = [math.log(p.speedup) for p in series.measured if p.speedup][-WIDTH:]
    if not shown:
        return f"{printable(series.title)}: no speedup"
    low, high = min(shown), max(shown)
    span = high - low or 1.0
    bars = "".join(BARS[min(len(BARS) - 1, int((y - low) / span * len(BARS)))] for y in shown)
    return f"{bars:{WIDTH}} {number(math.exp(low))}x .. {number(math.exp(high))}x  {printable(series.title)}"


def picture(series: Sequence[Series], path: Path) -> None:
    """Draw speedups with intervals and levels, a panel for each series. Raises UsageError without matplotlib."""
    drawn = [one for one in series if one.measured]
    if not drawn:
        raise UsageError("none of these series has a speedup")
    if len(drawn) > MAX_PICTURES:
        raise UsageError(f"{len(drawn)} series are too many for one picture (at most {MAX_PICTURES}): name a model")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("--png needs matplotlib: pip install 'torch-benchmark-runner[report]'") from error
    figure = Figure(figsize=(9, 2.5 * len(drawn)), layout="constrained")
    for place, one in enumerate(drawn, 1):
        _panel(figure.add_subplot(len(drawn), 1, place), one)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"can't draw {path}: {error}") from error


def _panel(axes: object, series: Series) -> None:
    points = series.measured
    speedups = [p.speedup or 0.0 for p in points]
    bars = [1.96 * (p.error or 0.0) * s for p, s in zip(points, speedups, strict=True)]
    axes.errorbar(range(len(points)), speedups, yerr=bars, fmt=".", linewidth=0.8)  # type: ignore[attr-defined]
    for level in levels([series])[0]:
        axes.hlines(math.exp(level.level), level.start, level.stop - 1)  # type: ignore[attr-defined]
    axes.set_title(series.title, fontsize=8)  # type: ignore[attr-defined]
    axes.set_ylabel("speedup")  # type: ignore[attr-defined]
