"""Columns with an interval of their own as metrics: compile times, ratios of experiments that have no speedup."""

from __future__ import annotations

import math
from collections.abc import Iterable

from runner.compare.judge import LEVEL, Estimator
from runner.compare.sides import Entry
from runner.errors import UsageError
from runner.measure.comparisons import Estimate
from runner.measure.statistics import z_of


def metric_of(name: str, entries: Iterable[Entry]) -> Estimator:
    """The estimator of a column: of times and their ratios the smaller is better, of speedups the larger.

    Raises UsageError where no row has `<name>_lo` and `<name>_hi`.
    """
    known = {column for entry in entries for column in entry.row if f"{column}_lo" in entry.row}
    if name not in known:
        raise UsageError(
            f"--metric {name}: give speedup, latency, mean, or a column with an interval; here that is "
            + (", ".join(sorted(known)) or "none")
        )
    sign = 1 if name.startswith("speedup") else -1

    def estimate_of(entry: Entry) -> Estimate | None:
        numbers = entry.numbers
        value, lo, hi = (numbers.get(column, 0.0) for column in (name, f"{name}_lo", f"{name}_hi"))
        if not entry.ok or value <= 0:
            return None
        z = z_of(numbers.get("ci_level", LEVEL))
        within = math.log(hi / lo) / 2 / z if 0 < lo < hi else math.nan
        return Estimate(sign * math.log(value), within, 1)

    return estimate_of
