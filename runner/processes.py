"""Measuring one cell in several processes, and once more at the end of the run where the interval stayed too wide.

Generators for an experiment's `attempts`; they run in the parent. Rows are those of `Timer.compare` and `process_row`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from runner.cells import Cell
from runner.experiment import Attempt, Outcome
from runner.results.columns import Row, Status, join_flags


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


def combined(rows: Sequence[Row], measure: Mapping[str, Any]) -> Row:
    """One row of several processes: the first one's, with the speedup estimated across all of them."""
    if len(rows) == 1:
        return rows[0]
    flags = join_flags(*(row.get("flags") for row in rows))
    row = {**rows[0], "process": None, "n_processes": len(rows), "flags": flags}
    if not all(one.get("speedup") for one in rows):
        return row
    from runner.measure.statistics import combine_processes, detectable, verdict

    known = [one["se_within"] for one in rows if one.get("se_within") is not None]
    found = combine_processes([math.log(one["speedup"]) for one in rows], known or [math.nan], measure["ci_level"])
    return row | {
        "speedup": math.exp(found.interval.center),
        "speedup_lo": math.exp(found.interval.lo),
        "speedup_hi": math.exp(found.interval.hi),
        "rel_hw": found.interval.half_width,
        "se_within": found.within_sd,
        "between_sd": found.between_sd,
        "mde80": detectable(found.interval.se, measure["ci_level"]),
        "verdict": verdict(found.interval, measure["practical"]),
        "converged": found.interval.half_width <= measure["rel_ci"],
    }


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
