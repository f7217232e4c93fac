"""Which limit is reached first, with a clock of numbers."""

from __future__ import annotations

import pytest

from runner.results.columns import Phase
from runner.worker.limits import Deadlines, Limits

LIMITS = Limits(load_s=10, compile_s=20, cell_s=100)


def test_phase_limit_sums_visits() -> None:
    """A limit bounds all visits to its phases together; a phase entered within another stops the other's clock."""
    deadlines = Deadlines(LIMITS, 30, now=0)
    deadlines.enter(Phase.COMPILE, 1)
    assert deadlines.next() == (21, "compile_s")
    deadlines.enter(Phase.LOAD, 6)
    assert deadlines.next() == (16, "load_s")
    deadlines.enter(Phase.COMPILE, 10)
    assert deadlines.next() == (25, "compile_s")
    deadlines.enter(None, 12)
    assert deadlines.next() == (100, "cell_s")


def test_cell_limit_counts_from_the_start() -> None:
    """The cell's limit comes first when the phase's lies behind it, and counts from when the job started."""
    deadlines = Deadlines(LIMITS, 30, now=0)
    deadlines.start(5)
    deadlines.enter(Phase.COMPILE, 95)
    assert deadlines.next() == (105, "cell_s")


def test_measuring_limit_grows_with_the_calls() -> None:
    """By default measuring may take 60 s, three budgets and ten calls of each side, over its three phases."""
    deadlines = Deadlines(LIMITS, 30, now=0)
    assert deadlines.allowed("measure_s") == 150
    deadlines.expect_call(2.0, 0, 0)
    deadlines.expect_call(1.0, 0, 0)
    assert deadlines.allowed("measure_s") == 180
    for phase, now in ((Phase.MEMORY, 0), (Phase.WARMUP, 10), (Phase.MEASURE, 20)):
        deadlines.enter(phase, now)
    assert deadlines.next() == (100, "cell_s")
    assert Deadlines(Limits(measure_s=7), 30, 0).allowed("measure_s") == 7


def test_calls_that_cannot_end_in_time() -> None:
    """A cell is hopeless as soon as the calls still to come outlast its limit, of both sides together."""
    deadlines = Deadlines(LIMITS, 30, now=0)
    deadlines.start(50)
    deadlines.expect_call(12.0, 3, 62)
    assert not deadlines.hopeless
    deadlines.expect_call(11.0, 3, 84)
    assert deadlines.hopeless == (
        "limits.cell_s=100 is too short: after 34 s, at least 69 s of calls are left, one of which took 11 s; "
        "raise it, or lower batch_size"
    )


def test_a_later_child_has_what_the_earlier_ones_left() -> None:
    """It ends when all of them together took the cell's limit, and its errors name that limit as it was set."""
    deadlines = Deadlines(LIMITS.after(60), 30, now=0)
    assert deadlines.next() == (40, "cell_s")
    assert deadlines.allowed("cell_s") == 100
    deadlines.expect_call(12.0, 3, 12)
    assert deadlines.hopeless.startswith("limits.cell_s=100 is too short: after 72 s, at least 36 s of calls are left")
    assert Deadlines(LIMITS.after(100), 30, now=0).next() == (1, "cell_s")


@pytest.mark.parametrize("name", ["load_s", "measure_s", "log_bytes"])
def test_not_positive(name: str) -> None:
    """A limit of nothing is refused by name."""
    with pytest.raises(ValueError, match=f"limits.{name}=0: give a number above 0"):
        Limits(**{name: 0})
