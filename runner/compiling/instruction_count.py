"""Counts the instructions that this thread executes, by the processor's own counter: a figure without noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def counted(action: Callable[[], T]) -> tuple[T, int | None]:
    """What `action` returns, and the user-space instructions of it; None where the kernel offers no counter.

    Linux only (perf_event_open); most virtual machines and containers have none.
    """
    try:
        from torch._C import _instruction_counter
    except ImportError:
        return action(), None
    counter = _instruction_counter.start()
    if counter < 0:
        return action(), None
    try:
        value = action()
    except BaseException:
        _instruction_counter.end(counter)
        raise
    return value, _instruction_counter.end(counter)
