"""A simulated world: its own time, callables with a given cost, a device with a queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runner.measure.engine import Side


class World:
    """Time that passes only when a callable runs, the clock is read or something waits.

    `cost(side, t_s, call_no)` gives a call's seconds; `call_no` counts the calls of both sides. Serves the engine as
    clock and as device.
    """

    def __init__(self, cost: Callable[[str, float, int], float], overhead_ns: int = 100, tick_ns: int = 1) -> None:
        self.cost, self.overhead_ns, self.tick_ns = cost, overhead_ns, tick_ns
        self.time_ns = 0.0
        self.calls: list[str] = []
        self.slept: list[float] = []

    def now_ns(self) -> int:
        self.time_ns += self.overhead_ns
        return int(self.time_ns // self.tick_ns * self.tick_ns)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time_ns += seconds * 1e9

    def call(self, side: str) -> None:
        self.time_ns += self.cost(side, self.time_ns / 1e9, len(self.calls)) * 1e9
        self.calls.append(side)

    def side(self, name: str) -> Side:
        return Side(lambda: self.call(name))

    def sync(self) -> None:
        """Nothing is queued."""

    def event(self) -> None:
        """There are none."""

    def flush_l2(self) -> None:
        """There is none."""

    def prime(self, duration_ns: int) -> None:
        """There is no queue."""


class QueueEvent:
    """An event of `QueueWorld`."""

    def __init__(self, world: QueueWorld) -> None:
        self.world, self.at_ns = world, -1.0

    def record(self) -> None:
        self.world.enqueue("record", self)

    def elapsed_ms(self, later: QueueEvent) -> float:
        return (later.at_ns - self.at_ns) / 1e6


class QueueWorld(World):
    """A device that runs after the host: work waits in a queue which advances only at `sync`.

    `launch_ns` is the host's time per call, `sync_ns` that of waiting for nothing, `cost` the
    device's. `log` holds what was asked for, in order.
    """

    def __init__(
        self, cost: Callable[[str, float, int], float], launch_ns: int = 20_000, sync_ns: int = 0, **arguments: Any
    ) -> None:
        super().__init__(cost, **arguments)
        self.launch_ns, self.sync_ns = launch_ns, sync_ns
        self.queue: list[tuple[str, float, Any]] = []
        self.device_ns = 0.0
        self.log: list[str] = []

    def enqueue(self, what: str, event: Any = None, duration_ns: float = 0.0) -> None:
        self.log.append(what)
        self.queue.append((what, self.time_ns, (event, duration_ns)))

    def call(self, side: str) -> None:
        seconds = self.cost(side, self.time_ns / 1e9, len(self.calls))
        self.calls.append(side)
        self.enqueue(side, duration_ns=seconds * 1e9)
        self.time_ns += self.launch_ns

    def sync(self) -> None:
        self.log.append("sync")
        for _, enqueued_ns, (event, duration_ns) in self.queue:
            self.device_ns = max(self.device_ns, enqueued_ns) + duration_ns
            if event is not None:
                event.at_ns = self.device_ns
        self.queue.clear()
        self.time_ns = max(self.time_ns, self.device_ns) + self.sync_ns

    def event(self) -> QueueEvent:  # type: ignore[override]
        return QueueEvent(self)

    def flush_l2(self) -> None:
        self.enqueue("flush", duration_ns=50_000)

    def prime(self, duration_ns: int) -> None:
        self.enqueue("prime", duration_ns=duration_ns)


@pytest.fixture(scope="session")
def world() -> type[World]:
    """The class of simulated worlds."""
    return World


@pytest.fixture(scope="session")
def queue_world() -> type[QueueWorld]:
    """The class of simulated worlds with a queued device."""
    return QueueWorld
