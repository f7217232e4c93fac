"""Measuring one cell in several processes, and once more at the end of the run where the interval stayed too wide.

Generators for an experiment's `attempts`; they run in the parent. Rows are those of `Timer.compare` and `process_row`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from runner.cells import Cell
from runner.experiment import Attempt, Outcome
from runner.results.columns import Row, Status, join_flags

#: Of several processes, the median of each one's.
TIMES = ("abs_latency", "eager_latency", "tokens_per_s")


def repeat(cell: Cell, options: Mapping[str, Any]) -> Generator[Attempt, Outcome, list[Outcome]]:
    """`measure.processes` children, numbered by the option `process`; none after the first that failed."""
    outcomes: list[Outcome] = []
    for process in range(cell.config["measure"]["processes"]):
        outcomes.append((yield Attempt(cell, {**options, "process": process})))
        if outcomes[-1].status is not Status.OK:
            break
    return outcomes


def retry(
    cell: Cell, row: Row, options: Mapping[str, Any], final: Callable[[Row], Row] = dict
) -> Generator[Attempt, Outcome, Row]:
    """The row after up to `measure.retry_unconverged` more measurements; `final` completes what is kept meanwhile."""
    for _ in range(cell.config["measure"]["retry_unconverged"]):
        if not _worth_repeating(row):
            break
        row = _retried(row, (yield Attempt(cell, options, deferred=True, pending=final(dict(row)))))
    return row


def combined(rows: Sequence[Row], measure: Mapping[str, Any], instead: str = "speedup") -> Row:
    """One row of several processes: the first one's, with the speedup estimated across all of them.

    Rows without a speedup by design have a positive ratio in the column `instead`, which what is said of the precision
    (`rel_hw` and the like) is then about; the ratio itself is left to `ratio`. It has converged where each process has:
    `measure.rel_ci` is what a process measures for, and the interval over processes says what they differ by.
    """
    if len(rows) == 1:
        return rows[0]
    flags = join_flags(*(row.get("flags") for row in rows))
    noisy = any(row.get("noisy") for row in rows)
    row = {**rows[0], "process": None, "n_processes": len(rows), "flags": flags, "noisy": noisy}
    measured = next((name for name in ("speedup", instead) if all(one.get(name) for one in rows)), None)
    if measured is None:
        return row
    from runner.measure.statistics import combine_processes, detectable, verdict

    known = [one["se_within"] for one in rows if one.get("se_within") is not None]
    found = combine_processes([math.log(one[measured]) for one in rows], known or [math.nan], measure["ci_level"])
    row |= {
        "rel_hw": found.interval.half_width,
        "se_within": found.within_sd,
        "between_sd": found.between_sd,
        "mde80": detectable(found.interval.se, measure["ci_level"]),
        "converged": all(one.get("converged") for one in rows),
        **{name: median(rows, name) for name in TIMES if name in rows[0]},
    }
    if measured != "speedup":
        return row
    return row | {
        "speedup": math.exp(found.interval.center),
        "speedup_lo": math.exp(found.interval.lo),
        "speedup_hi": math.exp(found.interval.hi),
        "verdict": verdict(found.interval, measure["practical"]),
    }


def median(rows: Sequence[Row], name: str) -> float | None:
    """The median of a column; None where no process has a value."""
    values = [row[name] for row in rows if row.get(name) is not None]
    return statistics.median(values) if values else None


def ratio(rows: Sequence[Row], name: str, level: float, unit: str = "") -> Row:
    """A positive column of several processes, its geometric mean and interval: `name`, `name_lo`, `name_hi`.

    Empty where a process has none.
    """
    values = [row.get(f"{name}{unit}") for row in rows]
    if not all(values):
        return {}
    from runner.measure.statistics import combine_processes

    logs = [math.log(value) for value in values if value]
    found = combine_processes(logs, [math.nan] * len(logs), level).interval
    ends = {f"{name}{unit}": found.center, f"{name}_lo{unit}": found.lo, f"{name}_hi{unit}": found.hi}
    return {column: math.exp(value) for column, value in ends.items()}


def _worth_repeating(row: Row) -> bool:
    """Whether a second measurement may do better: not of several processes, and not where the time allows few calls."""
    return row.get("converged") is False and row.get("rel_hw") is not None and row.get("n_processes") == 1


def _retried(row: Row, again: Outcome) -> Row:
    """The row after a second measurement: its numbers if it worked, and a flag that there were two."""
    from runner.measure.measurement import FLAGS

    if again.status is not Status.OK:
        return {**row, "flags": join_flags(row.get("flags"), "retry_failed")}
    flags = [word for word in (row.get("flags") or "").split(";") if word not in FLAGS]
    return {**row, **again.values, "flags": join_flags(*flags, again.values.get("flags"), "retried")}
