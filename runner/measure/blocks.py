"""Times one block of calls of one side, and chooses how many calls a block has."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from runner.measure.clock import EVENT_RESOLUTION_NS, Clock, Device, Event
from runner.measure.probe import Probe
from runner.measure.settings import ClockKind, Measure, Sync

#: Share of a block that the clock's overhead and resolution may take.
CLOCK_SHARE = 0.002
#: No side's block is made longer than this: half of the 50 ms that a pair may take.
BLOCK_CAP_NS = 25_000_000
#: A block this short is timed three times while choosing; a longer one tells enough at once.
REPEAT_BELOW_NS = 1_000_000_000
_TRIALS = 3
_OVERHEAD_TRIALS = 5
_TICKS = 5
_TICK_READS = 10_000
#: How much longer than the launches need the queue is kept busy under the device clock, and at most how long.
_PRIME_FACTOR = 1.5
_PRIME_EXTRA_NS = 20_000
_PRIME_CAP_NS = 50_000_000


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two callables that are compared.

    `call` does one step and its result is dropped after the clock has stopped. `reset`, where given, runs before
    every call and outside the clock (restores inputs that the model changes, runs the forward of a timed backward);
    it forces blocks of one call.
    """

    call: Callable[[], Any]
    reset: Callable[[], Any] | None = None


class Reading(NamedTuple):
    """One timed block; all are totals over its calls, nan where there is no such source."""

    ns: float  # by the clock that the ratio is taken from
    wall_ns: float
    device_ns: float
    minflt: float
    nivcsw: float


_NOTHING = Side(lambda: None)


class Stopwatch:
    """Times blocks: flush, synchronise, start, calls, stop, synchronise.

    Of `settings` it reads `clock`, `sync` and `l2_flush`, which must be resolved; `reset_rng` precedes every block.
    Raises ValueError where the device clock is asked for and the device has no events.
    """

    def __init__(
        self,
        instruments: tuple[Clock, Device, Probe],
        settings: Measure,
        reset_rng: Callable[[], Any] | None = None,
    ) -> None:
        self._clock, self._device, self._probe = instruments
        self._by_device = settings.clock is ClockKind.device
        self._sync_each, self._l2_flush = settings.sync is Sync.each, bool(settings.l2_flush)
        self._reset_rng = reset_rng
        self._start, self._stop = self._device.event(), self._device.event()
        self._launch_ns: dict[Side, float] = {}  # least host time that one call's launches took
        if self._by_device and self._start is None:
            raise ValueError("measure.clock is device but this device has no timing events: use measure.clock=wall")

    def single_calls(self, side: Side) -> bool:
        """Must this side's blocks have one call?

        A reset or a flush must precede each call; and under the device clock a synchronisation between two calls
        would put the host's launches into the device's time.
        """
        return side.reset is not None or self._l2_flush or (self._by_device and self._sync_each)

    def time(self, side: Side, calls: int) -> Reading:
        """Time `calls` calls of `side`; what the last one returned is freed after the clock has stopped."""
        if self._reset_rng is not None:
            self._reset_rng()
        if side.reset is not None:
            side.reset()
        if self._l2_flush:
            self._device.flush_l2()
        self._device.sync()
        minflt, nivcsw = self._probe.counters()
        self._open_queue(side, calls)
        began = self._clock.now_ns()
        out = self._run(side.call, calls)
        launched = self._clock.now_ns() if self._by_device else began
        self._mark(self._stop)
        self._device.sync()
        wall_ns = self._clock.now_ns() - began
        minflt_after, nivcsw_after = self._probe.counters()
        del out
        self._note_launch(side, calls, launched - began)
        device_ns = self._between_events_ns()
        # A coarse clock may read nothing for a short block, and ratios need something.
        ns = max(1.0, device_ns if self._by_device else float(wall_ns))
        return Reading(ns, float(wall_ns), device_ns, minflt_after - minflt, nivcsw_after - nivcsw)

    def _run(self, call: Callable[[], Any], calls: int) -> Any:
        out = None
        if self._sync_each:
            for _ in range(calls):
                out = call()
                self._device.sync()
        else:
            for _ in range(calls):
                out = call()
        return out

    def _open_queue(self, side: Side, calls: int) -> None:
        if self._by_device and side in self._launch_ns:
            needed = self._launch_ns[side] * calls * _PRIME_FACTOR + _PRIME_EXTRA_NS
            self._device.prime(int(min(needed, _PRIME_CAP_NS)))
        self._mark(self._start)

    def _note_launch(self, side: Side, calls: int, ns: int) -> None:
        if self._by_device and calls:
            # The least, because launches that fill the queue wait for the priming itself.
            self._launch_ns[side] = min(ns / calls, self._launch_ns.get(side, math.inf))

    def _mark(self, event: Event | None) -> None:
        if event is not None:
            event.record()

    def _between_events_ns(self) -> float:
        if self._start is None:
            return math.nan
        return float(self._start.elapsed_ms(self._stop)) * 1e6

    def grain_ns(self) -> tuple[float, float]:
        """Overhead of timing an empty block, and resolution of the clock."""
        overhead = statistics.median(self.time(_NOTHING, 0).ns for _ in range(_OVERHEAD_TRIALS))
        return overhead, float(EVENT_RESOLUTION_NS if self._by_device else self._tick_ns())

    def _tick_ns(self) -> int:
        ticks: list[int] = []
        before = self._clock.now_ns()
        for _ in range(_TICK_READS):
            now = self._clock.now_ns()
            if now > before:
                ticks.append(now - before)
            if len(ticks) == _TICKS:
                break
            before = now
        return min(ticks, default=1)


class Block(NamedTuple):
    """Calls per block of one side, and the times of single calls (ns) that were seen while choosing it."""

    calls: int
    single_ns: list[float]


def choose_block(watch: Stopwatch, side: Side, grain_ns: tuple[float, float]) -> Block:
    """Smallest power of two whose block hides the clock, as far as the cap on a pair's duration allows."""
    needed, calls = max(grain_ns) / CLOCK_SHARE, 1
    while True:
        times = _repeated(watch, side, calls)
        shortest = min(times)
        if shortest >= needed or 2 * shortest > BLOCK_CAP_NS or watch.single_calls(side):
            return Block(calls, times if calls == 1 else [])
        calls *= 2


def _repeated(watch: Stopwatch, side: Side, calls: int) -> list[float]:
    times = [watch.time(side, calls).ns]
    while len(times) < _TRIALS and sum(times) < REPEAT_BELOW_NS:  # one stall must not decide about the block
        times.append(watch.time(side, calls).ns)
    return times
