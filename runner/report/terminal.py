"""The summary of a run or sweep: a table of its rows, what they come to, what failed, where the files are."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TextIO, TypeGuard

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner import registry
from runner.report.console import (
    failure_text,
    joined,
    make_console,
    plain,
    print_line,
    print_whole,
    short_path,
    status_text,
    title_of,
    value_text,
)
from runner.report.labels import labelled
from runner.results.columns import Column, Row, Status
from runner.results.reader import Results
from runner.results.run import RunRecord
from runner.results.status import is_failure

#: Columns that are shown, and by which means are taken apart, where they differ between rows; `labelled` finds more.
DISTINGUISHING = (*("suite", "dev", "backend", "precision", "mode", "dynamic", "task", "optimizer", "parallel", "tag"),)
#: The words of the count, in their order; every cell is counted under one of them.
KINDS = ("ok", "wrong", "failed", "unconverged", "unsupported", "skipped", "missing")
#: Kinds that an aggregate leaves out although their cells were meant to be in it.
LEFT_OUT = ("wrong", "failed", "unconverged", "missing")


def print_summary(results: Results, stream: TextIO | None = None) -> None:
    """Print the summary of `results` to `stream` (default: standard output)."""
    console = make_console(stream or sys.stdout)
    for experiment in dict.fromkeys(run.record.experiment for run in results.runs):
        print_experiment(console, results, experiment)
    print_failures(console, results)
    print_reasons(console, results.rows)
    print_where(console, results)


def print_experiment(console: Console, results: Results, experiment: str) -> None:
    """Table, counts and means of one experiment."""
    runs = [run for run in results.runs if run.record.experiment == experiment]
    rows = [row for run in runs for row in run.rows]
    configs = [run.record.cells.get(row["cell_id"], {}) for run in runs for row in run.rows]
    columns = differing(rows)
    shown, settings = labelled(rows, configs, columns)
    keys = [*columns, *settings]
    print_whole(console, rows_table(shown, shown_columns(runs[0].record), keys))
    missing = sum(len(run.missing) for run in runs)
    print_line(console, f"{experiment}: {counts_text(rows, missing)}")
    for line in (*means_text(shown, keys), *conclusions(experiment, rows, missing)):
        print_line(console, line)


def conclusions(experiment: str, rows: Sequence[Row], missing: int) -> list[str]:
    """What the experiment itself says of its rows; nothing where it isn't installed."""
    path = registry.target("experiment", experiment)
    return list(registry.locate(path).conclude(rows, missing)) if path else []  # type: ignore[attr-defined]


def shown_columns(record: RunRecord) -> list[Column]:
    """The columns that the experiment wants to see in its summary; upstream's headline where it has no wish."""
    by_name = {column.name: column for column in record.columns}
    wanted = [by_name[name] for name in record.summary if name in by_name]
    return wanted or [column for column in record.columns if column.headline]


def differing(rows: Sequence[Row]) -> list[str]:
    """Those of DISTINGUISHING in which `rows` differ."""
    return [key for key in DISTINGUISHING if len({row.get(key) for row in rows}) > 1]


def rows_table(rows: Sequence[Row], columns: Sequence[Column], keys: Sequence[str]) -> Table:
    """One line per row. Names fold and are never cut; columns without any value are left out."""
    shown = [column for column in columns if any(value_text(row, column) for row in rows)]
    labels = [*keys, "cell_id"] if ambiguous(rows, keys) else list(keys)
    flags = any(row.get("flags") for row in rows)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in ("model", *labels, "status"):
        table.add_column(title, overflow="fold")
    for column in shown:
        table.add_column(title_of(column), justify="left" if column.type is str else "right", overflow="fold")
    if flags:
        table.add_column("flags", overflow="fold")
    for row in rows:
        cells = [Text(plain(row.get(key) or "")) for key in ("name", *labels)]
        values = [Text(value_text(row, column)) for column in shown]
        table.add_row(*cells, status_text(row), *values, *([Text(plain(row.get("flags") or ""))] if flags else []))
    return table


def ambiguous(rows: Sequence[Row], keys: Sequence[str]) -> bool:
    """Whether two rows would look like the same cell."""
    return any(n > 1 for n in Counter(tuple(row.get(key) for key in ("name", *keys)) for row in rows).values())


def kind_of(row: Row) -> str:
    """One of KINDS."""
    status = row["status"]
    if status == Status.OK:
        return "unconverged" if row.get("converged") is False else "ok"
    if status == Status.WRONG_OUTPUT:
        return "wrong"
    return "failed" if is_failure(row) else str(status)


def count_kinds(rows: Sequence[Row], missing: int = 0) -> dict[str, int]:
    """How many rows of each of KINDS."""
    found = Counter(kind_of(row) for row in rows)
    return {kind: missing if kind == "missing" else found[kind] for kind in KINDS}


def counts_text(rows: Sequence[Row], missing: int) -> str:
    """`20 cells: 17 ok, 0 wrong, 1 failed, ...`; missing ones are named only where there are any."""
    counts = count_kinds(rows, missing)
    words = [f"{n} {kind}" for kind, n in counts.items() if n or kind != "missing"]
    return f"{len(rows) + missing} cell{'s' if len(rows) + missing != 1 else ''}: {joined(words)}"


def means_text(rows: Sequence[Row], keys: Sequence[str]) -> list[str]:
    """Geometric mean of the speedups, a line for each combination of `keys`; none where no row has a speedup."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row.get(key) or "-") for key in keys), []).append(row)
    lines = [mean_text(dict(zip(keys, values, strict=True)), group) for values, group in groups.items()]
    return [line for line in lines if line]


def mean_text(labels: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Geometric mean of one group with its two intervals, and what isn't in it."""
    used = [row for row in rows if log_se(row) is not None]
    usable = [(row["speedup"], se) for row in used if (se := log_se(row)) is not None]
    if len(usable) < 2:  # of one model it is its row again
        return ""
    from runner.measure.statistics import geometric_mean  # scipy: only once there is something to compute

    mean = geometric_mean([speedup for speedup, _ in usable], [se for _, se in usable])
    of = f"{mean.n} {'models' if len({row.get('name') for row in used}) == mean.n else 'rows'}"
    where = f" ({joined(f'{key} {plain(value)}' for key, value in labels.items())})" if labels else ""
    parts = [f"speedup{where}, geometric mean of {of}: {mean.center:.4f}x"]
    parts += [f"95 % measurement interval {limits(mean.measurement)}"]
    parts += [f"suite interval {limits(mean.suite)}"] if math.isfinite(mean.suite[0]) else []
    out = [f"{n} {kind}" for kind, n in count_kinds(rows).items() if n and kind in LEFT_OUT]
    noisy = sum(bool(row.get("noisy")) for row in used)
    parts += [f"{noisy} of them measured under noise"] if noisy else []
    return joined(parts) + (f"; left out: {joined(out)}" if out else "")


def limits(interval: tuple[float, float]) -> str:
    """Both ends of an interval of ratios."""
    return f"[{interval[0]:.4f}, {interval[1]:.4f}]"


def log_se(row: Row) -> float | None:
    """Standard error of the log of the row's speedup; None where the speedup isn't one to take a mean of.

    With several processes the interval over them is what counts, not the error within one.
    """
    if kind_of(row) != "ok" or not positive(row.get("speedup")):
        return None
    if (row.get("n_processes") or 1) == 1 and positive(row.get("se_within")):
        return float(row["se_within"])
    lo, hi = row.get("speedup_lo"), row.get("speedup_hi")
    if lo is None or hi is None or not (positive(lo) and positive(hi)):
        return None
    z = NormalDist().inv_cdf(0.5 + (row.get("ci_level") or 0.95) / 2)
    return float(math.log(hi / lo) / 2 / z)


def positive(value: object) -> TypeGuard[float]:
    """Whether this is a positive, finite float."""
    return isinstance(value, float) and 0 < value < math.inf


def print_failures(console: Console, results: Results) -> None:
    """A line for each failed cell with its log, and the names of cells that have no row."""
    for row in results.rows:
        if is_failure(row):
            log = [f"  log: {short_path(results.directory / row['log'])}"] if row.get("log") else []
            print_line(console, Text(plain(row.get("name") or ""), style="bold"), f"  {failure_text(row)}", *log)
    if results.missing:
        print_line(console, f"no row yet: {joined(map(plain, results.missing))}")


def print_reasons(console: Console, rows: Sequence[Row]) -> None:
    """Why cells were unsupported or skipped: each reason once, with its models."""
    models: dict[str, list[str]] = {}
    for row in rows:
        if kind_of(row) in ("unsupported", "skipped"):
            names = models.setdefault(f"{row['status']}: {plain(row.get('error') or 'no reason given')}", [])
            names.append(plain(row.get("name") or ""))
    for reason, names in models.items():
        print_line(console, Text(reason, style="dim"), f"  ({joined(dict.fromkeys(names))})")


def print_where(console: Console, results: Results) -> None:
    """The folder, with what is in it."""
    dropped = sum(run.dropped for run in results.runs)
    if dropped:
        print_line(console, f"{dropped} damaged line{'s' if dropped > 1 else ''} ignored")
    visible = sorted(path for path in results.directory.iterdir() if not path.name.startswith("."))
    folders = {run.directory for run in results.runs if run.directory != results.directory}
    names = [p.name + "/" * p.is_dir() for p in visible if not any(f.is_relative_to(p) for f in folders)]
    jobs = [f"{len(folders)} job folders"] if folders else []
    print_line(console, f"results in {short_path(results.directory)}: {joined([*map(plain, names), *jobs])}")
