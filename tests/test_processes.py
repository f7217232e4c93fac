"""One cell in several processes: when children stop, when the cell is measured again, what its row then is."""

from __future__ import annotations

import math
from typing import Any

import pytest

from runner import processes
from runner.cells import Cell
from runner.experiment import Outcome
from runner.results.columns import Status

MEASURE = {"processes": 3, "retry_unconverged": 2, "ci_level": 0.95, "practical": 0.01, "rel_ci": 0.02}
CELL = Cell({"model": {"name": "m"}, "measure": MEASURE})


def driven(generator: Any, *outcomes: Outcome) -> tuple[list[Any], Any]:
    """The attempts that a generator makes when they end with `outcomes`, and what it returns."""
    attempts, answers = [], iter(outcomes)
    try:
        attempts.append(next(generator))
        while True:
            attempts.append(generator.send(next(answers)))
    except StopIteration as end:
        return attempts, end.value


def test_children_are_numbered_and_stop_at_a_failure() -> None:
    """Each knows which it is; after one that failed there is none."""
    good, bad = Outcome(Status.OK), Outcome(Status.OOM)
    attempts, outcomes = driven(processes.repeat(CELL, {"a": 1}), good, good, good)
    assert [attempt.options for attempt in attempts] == [{"a": 1, "process": i} for i in range(3)]
    assert len(outcomes) == 3
    assert driven(processes.repeat(CELL, {}), good, bad)[1] == [good, bad]


def test_an_unconverged_row_is_measured_again() -> None:
    """At the end of the run, until it converges; the last numbers count, and the flags say so."""
    row = {"status": "ok", "converged": False, "rel_hw": 0.1, "n_processes": 1, "flags": "unconverged;own"}
    still = Outcome(Status.OK, values={"converged": False, "rel_hw": 0.05, "speedup": 2.0, "flags": "unconverged"})
    attempts, found = driven(processes.retry(CELL, row, {"process": 1}), still, still)
    assert [attempt.deferred for attempt in attempts] == [True, True]
    assert (found["speedup"], found["flags"]) == (2.0, "own;retried;unconverged")
    failed = driven(processes.retry(CELL, row, {}), Outcome(Status.OOM), Outcome(Status.OOM))[1]
    assert (failed["rel_hw"], failed["flags"]) == (0.1, "unconverged;own;retry_failed")
    assert driven(processes.retry(CELL, {**row, "n_processes": 3}, {}))[0] == []


def test_the_speedup_of_several_processes() -> None:
    """The geometric mean, with an interval over the processes; without a speedup in each there is none."""
    rows = [{"speedup": s, "flags": f, "process": 0} for s, f in ((2.0, "a"), (8.0, "b"))]
    row = processes.combined(rows, MEASURE)
    assert row["speedup"] == pytest.approx(4.0)
    assert row["speedup_lo"] < 4.0 < row["speedup_hi"]
    assert (row["n_processes"], row["process"], row["flags"], row["converged"]) == (2, None, "a;b", False)
    assert "verdict" not in processes.combined([rows[0], {"speedup": None}], MEASURE)
    assert processes.combined(rows[:1], MEASURE) is rows[0]


def test_rows_without_a_speedup_by_design() -> None:
    """What is said of the precision is about the ratio in its place, over the processes; the speedup stays empty."""
    one = {"speedup": None, "se_within": 0.001, "rel_hw": 0.002, "converged": True}
    rows = [{**one, "slower": ratio} for ratio in (2.0, 2.2, 2.4)]
    row = processes.combined(rows, MEASURE, instead="slower")
    twin = processes.combined([{**one, "speedup": 1 / one["slower"]} for one in rows], MEASURE)
    assert 0.08 < row["between_sd"] < 0.1 < row["rel_hw"]
    for name in ("between_sd", "se_within", "rel_hw", "mde80", "converged"):
        assert row[name] == pytest.approx(twin[name])
    assert (row["converged"], row["speedup"], "verdict" in row, row["slower"]) == (True, None, False, 2.0)


def test_times_and_convergence_of_several_processes() -> None:
    """Times are the median of the processes'; one that did not reach its target makes the row unconverged."""
    latencies = (10.0, 12.0, 50.0)
    rows = [{"speedup": 2.0, "abs_latency": ms, "tokens_per_s": None, "converged": True} for ms in latencies]
    row = processes.combined(rows, MEASURE)
    assert (row["abs_latency"], row["tokens_per_s"], row["converged"]) == (12.0, None, True)
    rows[2] |= {"converged": False, "flags": "unconverged"}
    row = processes.combined(rows, MEASURE)
    assert (row["converged"], row["flags"]) == (False, "unconverged")


@pytest.mark.parametrize("noisy", [(False, False), (False, True), (True, False)])
def test_one_noisy_process_makes_the_row_noisy(noisy: tuple[bool, bool]) -> None:
    """As the flags say, which are those of all processes."""
    rows = [{"speedup": 2.0, "noisy": word, "flags": "steal" if word else ""} for word in noisy]
    row = processes.combined(rows, MEASURE)
    assert row["noisy"] is bool(row["flags"]) is any(noisy)


def test_other_ratios_of_several_processes() -> None:
    """Any positive column, under its own name."""
    found = processes.ratio([{"t_ms": 1.0}, {"t_ms": 4.0}], "t", 0.95, "_ms")
    assert found["t_ms"] == pytest.approx(2.0)
    assert math.log(found["t_hi_ms"]) == pytest.approx(-math.log(found["t_lo_ms"]) + 2 * math.log(2.0))
    assert processes.ratio([{"t_ms": 1.0}, {}], "t", 0.95, "_ms") == {}
