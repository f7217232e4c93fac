"""What is seen while a run is on, under a simulated clock."""

from __future__ import annotations

import contextlib
import io
import os
import pty

import pytest

from runner.report.progress import Progress, duration
from runner.results.columns import Column

SPEEDUP = Column("speedup", float, "x", "ratio", headline=True)


class Clock:
    """Time that moves when told to."""

    now = 100.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def test_a_line_per_finished_cell() -> None:
    """On a plain stream: finished cells with their number, outcome, first value and time; waiting is said once."""
    clock, stream = Clock(), io.StringIO()
    with Progress(3, stream, (SPEEDUP,), clock) as progress:
        progress.start("resnet18")
        progress.waiting("waiting for cuda:0")
        progress.waiting("waiting for cuda:0")
        progress.phase("compile")
        clock.now += 12.34
        progress.tick()
        progress.finish({"name": "resnet18", "status": "ok", "speedup": 1.2345, "speedup_lo": 1.2, "speedup_hi": 1.26})
        progress.start("bad\n[red]")
        clock.now += 1
        progress.finish({"status": "crashed", "phase": "compile", "error_type": "SIGSEGV", "error": "died"})
        progress.finish({"name": "absent", "status": "skipped", "error": "too big"})
    assert stream.getvalue().splitlines() == [
        "[1/3] resnet18 waiting for cuda:0",
        "[1/3] resnet18 ok speedup 1.234x [1.200, 1.260] 12.3 s",
        r"[2/3] bad\n[red] crashed in compile: SIGSEGV: died 1.0 s",
        "[3/3] absent skipped: too big",
    ]


def test_time_left_is_the_median_of_finished_cells() -> None:
    """Cells to come count with the median; the running one with what remains of it; planned ones took no time."""
    clock = Clock()
    progress = Progress(5, io.StringIO(), clock=clock)
    progress.start("a")
    assert progress.left_s() is None
    clock.now += 10
    progress.finish({"name": "a", "status": "ok"})
    progress.finish({"name": "b", "status": "skipped"})
    assert progress.left_s() == 30
    progress.start("c")
    progress.phase("measure")
    clock.now += 4
    assert progress.left_s() == 26
    assert progress.line() == "[3/5] c measure 4 s, 26 s left"
    clock.now += 400
    assert progress.left_s() == 20


def test_deferred_cells_are_not_finished() -> None:
    """A cell that is put off is said so and counted when it has its final row."""
    stream = io.StringIO()
    progress = Progress(1, stream, clock=Clock())
    progress.start("a")
    progress.defer({"name": "a", "status": "ok"})
    progress.start("a")
    progress.finish({"name": "a", "status": "ok"})
    assert stream.getvalue() == "[1/1] a ok measured again at the end\n[1/1] a ok 0.0 s\n"


def test_live_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the line follows phase and ticks, at most once a second for ticks; finished cells stay above it."""
    monkeypatch.setenv("TERM", "xterm")
    leader, follower = pty.openpty()
    clock = Clock()
    with os.fdopen(follower, "w") as stream, Progress(2, stream, clock=clock) as progress:
        progress.start("a")
        progress.phase("compile")
        for _ in range(8):
            clock.now += 0.25
            progress.tick()
        progress.finish({"name": "a", "status": "ok"})
    seen = read_all(leader)
    assert "[1/2] a compile 0 s" in seen
    ticks, after = seen.split("[1/2] a \x1b[32mok\x1b[0m 2.0 s")
    assert ticks.count("[1/2] a compile 1 s") == ticks.count("[1/2] a compile 2 s") == 1
    assert "[2/2] " in after


def read_all(leader: int) -> str:
    """What was written to a terminal that is closed by now; Linux ends it with an error."""
    seen = b""
    with contextlib.suppress(OSError), os.fdopen(leader, "rb", buffering=0) as terminal:
        while chunk := terminal.read(1 << 16):
            seen += chunk
    return seen.decode()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99.4, "99 s"), (100, "2 min"), (5940, "99 min"), (7500, "2 h 05 min")]
)
def test_duration(seconds: float, text: str) -> None:
    """Seconds, minutes and hours as a person would say them."""
    assert duration(seconds) == text
