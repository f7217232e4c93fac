"""Whether the device waits for the host's launches: told from calls behind a busy queue, and from nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from runner.measure.blocks import Side
from runner.measure.engine import measure
from runner.measure.occupancy import Gauge
from runner.measure.settings import ClockKind, Gc, Measure

SETTINGS = Measure(gc=Gc.inherit, min_pairs=6, max_pairs=6)
LAUNCH_NS = 20_000


def kernels(world: Any, count: int, waits: bool = False) -> Side:
    """A call of `count` launches, which may wait for the device in the middle."""

    def call() -> None:
        for i in range(count):
            world.call("kernel")
            if waits and i == count // 2:
                world.sync()

    return Side(call)


def shallow(queue_world: Any, cost: Any, depth: int) -> Any:
    """A device whose queue holds `depth` entries; the host waits for room in it."""

    class Shallow(queue_world):  # type: ignore[misc]
        ends: list[float] = []

        def enqueue(self, what: str, event: Any = None, duration_ns: float = 0.0) -> None:
            if len(self.ends) >= depth:
                self.time_ns = max(self.time_ns, self.ends[-depth])
            begin = max([self.time_ns, *self.ends[-1:]])
            self.ends.append(begin + duration_ns)
            super().enqueue(what, event, duration_ns)

    world = Shallow(cost)
    world.ends = []
    return world


def row_of(world: Any, a: Side, b: Side, **settings: Any) -> dict[str, Any]:
    chosen = Measure(**{**vars(SETTINGS), **settings})
    return measure(a, b, chosen, seed=0, name="m", clock=world, device=world).row()


def test_gaps_between_kernels_are_no_work(queue_world: Any) -> None:
    """Kernels of 5 us launched every 20 us keep the device busy for a quarter of the time that events span."""
    world = queue_world(lambda _side, _t, _n: 5e-6)
    row = row_of(world, kernels(world, 40), kernels(world, 40))
    assert row["device_ms_a"] == pytest.approx(row["eager_latency"], rel=0.05)
    assert row["busy_a_pct"] == pytest.approx(25, rel=0.05)
    assert row["launch_bound"] == "both"


def test_each_side_is_judged_by_itself(queue_world: Any) -> None:
    """One kernel of a millisecond instead of fifty of 5 us: that side's device never waits."""
    world = queue_world(lambda side, _t, _n: 1e-3 if side == "graph" else 5e-6)
    row = row_of(world, kernels(world, 50), world.side("graph"))
    assert (row["launch_bound"], row["busy_b_pct"]) == ("a", pytest.approx(100, rel=0.05))


def test_a_device_that_is_always_behind_is_not_bound(queue_world: Any) -> None:
    """Kernels of 100 us launched every 20 us."""
    world = queue_world(lambda _side, _t, _n: 100e-6)
    row = row_of(world, kernels(world, 40), kernels(world, 40))
    assert (row["launch_bound"], row["busy_a_pct"]) == ("none", pytest.approx(100, rel=0.05))


@pytest.mark.parametrize(("kernel_s", "bound"), [(2e-6, True), (100e-6, False)])
def test_more_launches_than_the_queue_holds(queue_world: Any, kernel_s: float, bound: bool) -> None:
    """The share isn't known then, but whether the host or the device is behind is."""
    world = shallow(queue_world, lambda _side, _t, _n: kernel_s, depth=30)
    wall_ns = 100 * max(kernel_s * 1e9, LAUNCH_NS)
    found = Gauge(world, world).occupancy(kernels(world, 100), wall_ns)
    assert (found.busy, found.launch_bound) == (None, bound)


def test_a_call_that_waits_for_the_device_may_not_be_known(queue_world: Any) -> None:
    """It empties the queue and ends with the device: neither word would be right for certain."""
    world = queue_world(lambda _side, _t, _n: 19e-6)
    side = Side(lambda: (kernels(world, 20, waits=True).call(), world.sync()))
    found = Gauge(world, world).occupancy(side, 21 * LAUNCH_NS)
    assert (found.busy, found.launch_bound) == (None, None)


def test_where_it_is_not_asked(world: Any, queue_world: Any) -> None:
    """Empty without events, under the device's own clock, and for calls of more than a second."""
    plain = world(lambda _side, _t, _n: 1e-3)
    assert row_of(plain, plain.side("a"), plain.side("b"))["launch_bound"] is None
    queued = queue_world(lambda _side, _t, _n: 1e-3)
    assert row_of(queued, queued.side("a"), queued.side("b"), clock=ClockKind.device)["launch_bound"] is None
    slow = queue_world(lambda _side, _t, _n: 2.0)
    assert Gauge(slow, slow).occupancy(slow.side("a"), 2e9).launch_bound is None
    assert slow.calls == []


def test_every_trial_starts_like_a_block(queue_world: Any) -> None:
    """Random numbers and inputs are as before each timed call, and the reset's work is done."""
    world, done = queue_world(lambda _side, _t, _n: 1e-4), []
    side = Side(lambda: world.call("f"), lambda: done.append("reset"))
    Gauge(world, world, lambda: done.append("seed")).occupancy(side, 1e5)
    assert done == ["seed", "reset"] * 4
    assert world.log[:5] == ["sync", "record", "prime", "record", "f"]


def test_a_call_that_raises_afterwards_costs_no_measurement(queue_world: Any, capsys: Any) -> None:
    """The pairs stand, the shares are empty, and the log says why."""
    world = queue_world(lambda _side, _t, _n: 1e-4)
    good = kernels(world, 1)

    def call() -> None:
        if "prime" in world.log:
            raise MemoryError("no room for one more")
        good.call()

    row = row_of(world, Side(call), good)
    assert (row["n_pairs"], row["speedup"]) == (6, pytest.approx(1, rel=0.05))
    assert [row[name] for name in ("busy_a_pct", "busy_b_pct", "launch_bound")] == [None, pytest.approx(100, rel=0.5), None]
    assert "no room for one more" in capsys.readouterr().err
