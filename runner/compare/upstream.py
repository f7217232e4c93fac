"""A comparison as PyTorch's `functional_autograd_benchmark/compare.py` prints it, with a verdict on each change."""

from __future__ import annotations

from collections.abc import Iterator

from runner.compare.judge import Comparison, Finding
from runner.compare.likeness import Differences
from runner.compare.render import conclusions, escaped, limits, percent
from runner.compare.sides import Entry
from runner.report.console import number
from runner.report.upstream import MEAN, autograd_lines, autograd_subject
from runner.results.text import finite

#: Head of the column with the interval, by metric.
CHANGES = {"speedup": "change in pairs", "latency": "change of median", "mean": "change of mean"}
HEADER = ("model", "task", "speedup", "mean (before)", "var (before)", "mean (after)", "var (after)")


def render_autograd(comparison: Comparison, unlike: Differences) -> str:
    """A Markdown table in the order of the base; below it what was concluded, a line each.

    Column speedup is the mean before over the mean after; the change, its interval and the verdict are of the
    comparison's metric. Raises UsageError where no row has a mean, or two of a side are alike.
    """
    header = (*HEADER, f"{CHANGES.get(comparison.metric, comparison.metric)} [95 %]", "verdict")
    table = autograd_lines(_named(comparison), header)
    said = [f"unlike: {sentence}" for sentence in (*unlike.refused, *unlike.marked)] + conclusions(comparison)
    return "\n".join([*table, "", *(f"- {escaped(sentence)}" for sentence in said), ""])


def _named(comparison: Comparison) -> Iterator[tuple[tuple[str, str], list[str]]]:
    for finding in comparison.findings:
        numbers = [_numbers(entry) for entry in (finding.pair.base, finding.pair.new)]
        if any(numbers):
            yield autograd_subject(finding.pair.either.row), [*_texts(numbers), *_verdict(finding)]


def _numbers(entry: Entry | None) -> tuple[float, float | None] | None:
    """Mean and variance of a right row; None where it has none."""
    mean = finite(entry.row.get(MEAN)) if entry and entry.ok else None
    return (mean, finite(entry.row.get("var"))) if entry and mean else None


def _texts(numbers: list[tuple[float, float | None] | None]) -> list[str]:
    """Speedup, and both sides' mean and variance; empty for what isn't known."""
    before, after = numbers
    speedup = number(before[0] / after[0]) if before and after else ""
    values = (value for side in numbers for value in side or (None, None))
    return [speedup, *("" if value is None else number(value) for value in values)]


def _verdict(finding: Finding) -> list[str]:
    """The change with its interval, and the verdict; the reason where there is no change."""
    note = f": {escaped(finding.note)}" if finding.note else ""
    return [f"{percent(finding.change)} {limits(finding.limits)}".strip(), f"{finding.verdict.value}{note}"]
