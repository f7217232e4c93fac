"""Timing a block on a device with a queue: what is done in which order, and what is in the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from runner.measure.blocks import Side, Stopwatch
from runner.measure.engine import measure
from runner.measure.probe import NoProbe
from runner.measure.settings import ClockKind, Gc, Measure, Sync

WALL = Measure(gc=Gc.inherit, clock=ClockKind.wall, l2_flush=False)
DEVICE = replace(WALL, clock=ClockKind.device)


def stopwatch(world: Any, settings: Measure) -> Stopwatch:
    return Stopwatch((world, world, NoProbe()), settings)


def takes(seconds: float) -> Callable[[str, float, int], float]:
    return lambda _side, _t, _n: seconds


def test_the_order_of_a_block(queue_world: Any) -> None:
    """Flush, synchronise, start event, calls, stop event, synchronise."""
    world = queue_world(takes(1e-3))
    stopwatch(world, replace(WALL, l2_flush=True)).time(world.side("f"), 2)
    assert world.log == ["flush", "sync", "record", "f", "f", "record", "sync"]


def test_sync_each_waits_after_every_call(queue_world: Any) -> None:
    """One synchronisation per call."""
    world = queue_world(takes(1e-3))
    stopwatch(world, replace(WALL, sync=Sync.each)).time(world.side("f"), 2)
    assert world.log == ["sync", "record", "f", "sync", "f", "sync", "record", "sync"]


def test_the_reset_comes_before_the_flush(queue_world: Any) -> None:
    """What the reset enqueues is done, and out of the cache, when the clock starts."""
    world = queue_world(takes(1e-3))
    side = Side(lambda: world.call("f"), lambda: world.enqueue("reset", duration_ns=1e9))
    reading = stopwatch(world, replace(WALL, l2_flush=True)).time(side, 1)
    assert world.log[:3] == ["reset", "flush", "sync"]
    assert reading.wall_ns < 2e6


def test_the_wall_clock_waits_for_the_device(queue_world: Any) -> None:
    """1 ms of device work launched in 20 us takes 1 ms by both clocks."""
    world = queue_world(takes(1e-3))
    reading = stopwatch(world, WALL).time(world.side("f"), 4)
    assert reading.wall_ns == pytest.approx(4e6, rel=0.01)
    assert reading.device_ns == pytest.approx(4e6, rel=0.01)
    assert reading.ns == reading.wall_ns


def test_a_missing_synchronisation_would_show(queue_world: Any) -> None:
    """On a device that nobody waits for, the wall sees the launches only: the test above is able to fail."""
    world = queue_world(takes(1e-3))
    device = type("Forgetful", (), {"sync": lambda _self: None, "event": lambda _self: None})()
    reading = Stopwatch((world, device, NoProbe()), WALL).time(world.side("f"), 4)
    assert reading.wall_ns < 0.1e6


def test_the_primed_device_clock_leaves_the_launches_out(queue_world: Any) -> None:
    """A kernel of 5 us launched in 20 us: 20 us apart by events unprimed, 5 us once the queue is kept busy."""
    world = queue_world(takes(5e-6))
    watch, side = stopwatch(world, DEVICE), world.side("f")
    unprimed, primed = watch.time(side, 10), watch.time(side, 10)
    assert unprimed.ns > 150_000
    assert primed.ns == pytest.approx(50_000, rel=0.01)
    assert world.log[-15:-12] == ["sync", "prime", "record"]


def measured(world: Any, settings: Measure, **arguments: Any) -> Any:
    options = {"seed": 0, "name": "op", "clock": world, "device": world} | arguments
    return measure(world.side("a"), world.side("b"), settings, **options)


def test_the_device_clock_measures_kernels(queue_world: Any) -> None:
    """Kernels of 10 and 5 us have a ratio of 2 by events, whatever their launches cost."""
    world = queue_world(lambda side, _t, _n: 10e-6 if side == "a" else 5e-6)
    row = measured(world, replace(DEVICE, clock=None), clock_kind=ClockKind.device).row()
    assert row["speedup"] == pytest.approx(2, rel=0.01)
    assert row["clock"] == "device"
    assert row["device_ms_b"] == row["abs_latency"]
    assert row["launch_bound"] is None


def test_events_beside_the_wall_clock(queue_world: Any) -> None:
    """Side a is short work behind slow synchronisation, side b long work: only a is bound by launches."""
    world = queue_world(lambda side, _t, _n: 100e-6 if side == "a" else 5e-3, sync_ns=30_000)
    row = measured(world, replace(WALL, block=1)).row()
    assert row["device_ms_a"] == pytest.approx(0.1, rel=0.01)
    assert row["device_ms_b"] == pytest.approx(5, rel=0.01)
    assert row["launch_bound"] == "a"


def test_a_flush_before_every_call_means_blocks_of_one(queue_world: Any) -> None:
    """`l2_flush` says that each call found a cold cache, so a given block cannot hold more calls."""
    world = queue_world(takes(5e-6))
    row = measured(world, replace(WALL, block=8, l2_flush=None), l2_flush=True).row()
    assert (row["block_a"], row["l2_flush"]) == (1, True)


def test_the_settings_win_over_the_experiments_choice(queue_world: Any) -> None:
    """`measure.clock` and `measure.l2_flush` given by the user hold."""
    world = queue_world(takes(1e-3))
    row = measured(world, WALL, clock_kind=ClockKind.device, l2_flush=True).row()
    assert (row["clock"], row["l2_flush"]) == ("wall", False)
    assert "flush" not in world.log


def test_a_block_hides_the_synchronisation(queue_world: Any) -> None:
    """Where an empty block costs 20 us, a block of 100 us calls is made 10 ms long."""
    world = queue_world(takes(100e-6), sync_ns=20_000)
    measurement = measured(world, WALL)
    assert measurement.row()["block_a"] == 128
    assert "clock_overhead" not in measurement.flags


def test_a_forced_block_that_does_not_hide_the_clock_is_flagged(queue_world: Any) -> None:
    """One call of 100 us under an overhead of 20 us says so."""
    world = queue_world(takes(100e-6), sync_ns=20_000)
    assert "clock_overhead" in measured(world, replace(WALL, block=1)).flags
