"""How much of a call's time does the device compute, and how much does it wait for the host's launches?

Events around a call can't tell: they span the gaps in which the device waits. So a call is put behind a busy queue,
where its kernels run back to back.
"""

from __future__ import annotations

import statistics
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.measure.blocks import Side
from runner.measure.clock import Clock, Device

#: A side whose device computes for a smaller share of the wall time is bound by launches.
LAUNCH_BOUND_SHARE = 0.9
#: How much longer than a call takes the queue is kept busy before it, and at most how long.
_PRIME_FACTOR = 1.5
_PRIME_EXTRA_NS = 200_000
_PRIME_CAP_NS = 50_000_000
#: Calls above the cap are tried once, others this often; calls above the limit not at all.
_TRIALS = 3
_LONGEST_NS = 1_000_000_000


@dataclass(frozen=True)
class Occupancy:
    """`busy` is the device's own time over the wall time; None is what can't be known."""

    busy: float | None = None
    launch_bound: bool | None = None


@dataclass(frozen=True)
class Gauge:
    """Finds the occupancy of a side by some calls that count for nothing else."""

    clock: Clock
    device: Device
    reset_rng: Callable[[], Any] | None = None

    def occupancy(self, side: Side, wall_ns: float) -> Occupancy:
        """Of a side whose calls take `wall_ns` each.

        A queue holds some thousand launches, and a call that waits for the device empties it. There the device's time
        is known as an upper bound only; above LAUNCH_BOUND_SHARE it counts whether the device was still at work when
        the host had launched everything.

        The number of calls depends on `wall_ns` alone, so that all ranks of a cell make as many. Not known where one of
        them raises: the side was measured before, and that stands.
        """
        if self.device.event() is None or wall_ns > _LONGEST_NS:
            return Occupancy()
        try:
            return self._found(side, wall_ns)
        except Exception as error:  # noqa: BLE001 - a call that counts for nothing must not cost those that count
            traceback.print_exception(error)
            return Occupancy()

    def _found(self, side: Side, wall_ns: float) -> Occupancy:
        prime_ns = int(min(_PRIME_FACTOR * wall_ns + _PRIME_EXTRA_NS, _PRIME_CAP_NS))
        trials = [self._queued(side, prime_ns) for _ in range(_TRIALS if wall_ns <= _PRIME_CAP_NS else 1)]
        launching = self._launching(side)
        gapless = [ns for ns, was_queued in trials if was_queued]
        if gapless:
            busy = statistics.median(gapless) / wall_ns
            return Occupancy(busy, busy < LAUNCH_BOUND_SHARE)
        if min(ns for ns, _ in trials) < LAUNCH_BOUND_SHARE * wall_ns:
            return Occupancy(None, launch_bound=True)
        return Occupancy(None, False if launching < LAUNCH_BOUND_SHARE else None)

    def _queued(self, side: Side, prime_ns: int) -> tuple[float, bool]:
        """The device's time for a call behind a busy queue, in ns, and whether all was launched before it began."""
        ahead, start, stop = (self.device.event() for _ in range(3))
        assert ahead is not None
        assert start is not None
        assert stop is not None
        self._get_ready(side)
        ahead.record()
        began = self.clock.now_ns()
        self.device.prime(prime_ns)
        start.record()
        out = side.call()
        stop.record()
        launched_ns = self.clock.now_ns() - began
        self.device.sync()
        del out
        return start.elapsed_ms(stop) * 1e6, launched_ns < ahead.elapsed_ms(start) * 1e6

    def _launching(self, side: Side) -> float:
        """Share of an ordinary call's wall time after which the host had launched everything."""
        self._get_ready(side)
        began = self.clock.now_ns()
        out = side.call()
        launched = self.clock.now_ns()
        self.device.sync()
        done = self.clock.now_ns()
        del out
        return (launched - began) / max(1, done - began)

    def _get_ready(self, side: Side) -> None:
        if self.reset_rng is not None:
            self.reset_rng()
        if side.reset is not None:
            side.reset()
        self.device.sync()


def columns(found: Mapping[str, Occupancy]) -> dict[str, Any]:
    """`busy_a_pct`, `busy_b_pct` and `launch_bound` from the occupancy of the sides a and b."""
    shares = {f"busy_{side}_pct": None if one.busy is None else 100 * one.busy for side, one in found.items()}
    if any(one.launch_bound is None for one in found.values()):
        return {**shares, "launch_bound": None}
    bound = [side for side, one in found.items() if one.launch_bound]
    return {**shares, "launch_bound": "both" if len(bound) == len(found) else "".join(bound) or "none"}
