"""What the ranks of a cell agree on, so that decisions come out alike everywhere; a plain cell agrees with itself.

Readings of the clock are those of the slowest rank. The ranks share a machine, and so its monotonic clock.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runner.measure.clock import WallClock
from runner.results.columns import Row
from runner.results.tensors import Comparison

if TYPE_CHECKING:
    from runner.measure.clock import Clock
    from runner.measure.engine import Side
    from runner.measure.probe import Probe

#: Blocks by which a rank learns its own times after the common measurement.
OWN_BLOCKS = 5

#: The ranks' process group for agreements (gloo, on the CPU); None in a plain cell.
_group: Any = None
#: Where a rank tells what is its own: columns of ranks.csv.
_report: Callable[[Row], None]


def begin(group: Any, report: Callable[[Row], None]) -> None:
    """From now on this process is a rank."""
    global _group, _report  # a process is a rank or it isn't
    _group, _report = group, report


def slowest(value: float) -> float:
    """The largest of the ranks' values."""
    return value if _group is None else _reduced(value, "MAX")


def least(value: float | None) -> float | None:
    """The smallest of the ranks' values; None means that it isn't known, on all ranks alike."""
    return value if _group is None or value is None else _reduced(value, "MIN")


def everywhere(flag: bool) -> bool:
    """Whether `flag` is true on all ranks."""
    return flag if _group is None else bool(_reduced(float(flag), "MIN"))


def worst(comparison: Comparison) -> Comparison:
    """The comparison of the first rank whose tensors differ, or one's own where none do."""
    if _group is None:
        return comparison
    found = _gathered(None if comparison.ok else comparison)
    return next((other for other in found if other is not None), comparison)


def clock() -> Clock:
    """The clock to measure with."""
    return WallClock() if _group is None else AgreedClock()


def probe(own: Probe) -> Probe:
    """`own`, which says that the accelerator is held back where that of any rank is."""
    if _group is not None:
        held_back = own.held_back
        own.held_back = lambda: frozenset().union(*_gathered(held_back()))  # type: ignore[method-assign]
    return own


class AgreedClock:
    """A monotonic clock whose readings are the same on all ranks: the moment when the last one asked."""

    def now_ns(self) -> int:
        """All ranks have to ask."""
        return int(_reduced(float(time.perf_counter_ns()), "MAX"))

    def sleep(self, seconds: float) -> None:
        """`time.sleep`."""
        time.sleep(seconds)


def report_own_times(sides: tuple[Side, Side], calls: tuple[int, int], sync: Callable[[], None]) -> None:
    """Let a rank tell its own median times per call, of blocks that all ranks start together."""
    if _group is None:
        return
    times = (
        statistics.median(_own_block_ms(side, block, sync) for _ in range(OWN_BLOCKS))
        for side, block in zip(sides, calls, strict=True)
    )
    _report(dict(zip(("eager_latency", "abs_latency"), times, strict=True)))


def _own_block_ms(side: Side, calls: int, sync: Callable[[], None]) -> float:
    if side.reset is not None:
        side.reset()
    sync()
    slowest(0.0)
    began = time.perf_counter_ns()
    for _ in range(calls):
        side.call()
    sync()
    return (time.perf_counter_ns() - began) / calls / 1e6


def _reduced(value: float, operation: str) -> float:
    import torch
    from torch import distributed

    tensor = torch.tensor(value, dtype=torch.float64)
    distributed.all_reduce(tensor, getattr(distributed.ReduceOp, operation), group=_group)
    return float(tensor)


def _gathered(value: Any) -> list[Any]:
    from torch import distributed

    found: list[Any] = [None] * distributed.get_world_size(_group)
    distributed.all_gather_object(found, value, group=_group)
    return found


def is_first() -> bool:
    """Whether this is rank 0, or no rank at all."""
    from torch import distributed

    return _group is None or distributed.get_rank() == 0
