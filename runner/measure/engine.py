"""Measures how much faster B is than A: blocks of both sides in pairs, until the interval is narrow enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.measure import occupancy, statistics
from runner.measure.blocks import Block, Reading, Side, Stopwatch, choose_block
from runner.measure.clock import Clock, Device
from runner.measure.environment import Snapshot, environment
from runner.measure.garbage import collector
from runner.measure.measurement import Machine, Measurement, Pair, log_ratios, pack
from runner.measure.probe import NoProbe, Probe
from runner.measure.schedule import b_first, looks
from runner.measure.settings import ClockKind, Measure
from runner.measure.warmup import is_steady

__all__ = ["Measurement", "Side", "measure"]

#: Pairs that take longer than this need fewer of them before the first look.
SLOW_PAIR_S = 3.0
MAX_REDONE = 10
_REDO_FIRST_S, _REDO_GROWTH, _REDO_LONGEST_S = 0.05, 1.5, 0.5


def measure(  # noqa: PLR0913 - what is injected has names
    a: Side,
    b: Side,
    settings: Measure,
    *,
    seed: int,
    name: str,
    clock: Clock,
    device: Device,
    probe: Probe | None = None,
    reset_rng: Callable[[], Any] | None = None,
    clock_kind: ClockKind = ClockKind.wall,
    l2_flush: bool = False,
) -> Measurement:
    """Compare B with A in this process; the speedup is time of A over time of B.

    Both sides must be ready: compiled, checked, called at least once. `seed` and `name` decide the order within the
    pairs. `reset_rng` runs before every block, outside the clock. `clock_kind` and `l2_flush` are the experiment's own
    choice and hold where `settings` leave theirs null.

    An exception raised by a side propagates; the garbage collector is then as before. Raises ValueError when the
    device clock is asked for on a device without events. The caller itself acts on `settings.threads`, `affinity`,
    `malloc`, `processes`, `retry_unconverged` and `samples_file`.
    """
    settings = replace(
        settings,
        clock=settings.clock or clock_kind,
        l2_flush=l2_flush if settings.l2_flush is None else settings.l2_flush,
    )
    probe = probe or NoProbe()
    watch = Stopwatch((clock, device, probe), settings, reset_rng)
    gauge = occupancy.Gauge(clock, device, reset_rng)
    run = _Run((a, b), settings, seed, name, clock, probe, watch, gauge)
    with collector(settings.gc) as tidy:
        return run.whole(tidy)


@dataclass
class _Run:
    """One measurement under way; times per call in seconds, A first."""

    sides: tuple[Side, Side]
    settings: Measure
    seed: int
    name: str
    clock: Clock
    probe: Probe
    watch: Stopwatch
    gauge: occupancy.Gauge
    blocks: tuple[int, int] = (1, 1)
    warm_s: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    pairs: list[Pair] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    redone: int = 0
    held_back: set[str] = field(default_factory=set)

    def whole(self, tidy: Callable[[int], None]) -> Measurement:
        canary_before = self.probe.canary_ms()
        began = self.clock.now_ns()
        overhead_ns = self.choose_blocks()
        warmup_pairs, steady = self.warm_up(began, tidy)
        warm = self.clock.now_ns()
        stop = self.measure(warm, tidy)
        done = self.clock.now_ns()
        arrays = self.arrays()
        machine = Machine(
            environment(self.snapshots, self.held_back),
            (canary_before, self.probe.canary_ms()),
            self.probe.threads,
            self.probe.cores,
            overhead_ns,
        )
        facts = {
            **self.chosen(),
            "stop": stop,
            "warmup_pairs": warmup_pairs,
            "steady": steady,
            "warmup_s": (warm - began) / 1e9,
            "measure_s": (done - warm) / 1e9,
            **self.occupancies(arrays),
        }
        return Measurement(arrays, self.settings, facts, machine)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return pack(self.pairs, self.blocks, self.warm_s, self.settings.clock is ClockKind.device)

    def chosen(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "order": settings.order.value,
            "seed": self.seed,
            "clock": settings.clock.value if settings.clock else None,
            "sync": settings.sync.value,
            "l2_flush": settings.l2_flush,
            "gc": settings.gc.value,
        }

    def occupancies(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """Columns about the device's idle time; its own clock has none."""
        found = {"a": occupancy.Occupancy(), "b": occupancy.Occupancy()}
        if self.settings.clock is not ClockKind.device:
            for key, side in zip(found, self.sides, strict=True):
                found[key] = self.gauge.occupancy(side, float(np.median(arrays[f"wall_{key}"])) * 1e9)
        return occupancy.columns(found)

    def choose_blocks(self) -> float:
        """Fix the calls per block of each side; returns the overhead of timing a block, in ns."""
        grain_ns = self.watch.grain_ns()
        a, b = (self.choose(side, grain_ns) for side in self.sides)
        self.blocks = (a.calls, b.calls)
        # Single calls timed while choosing are warm-up already: seconds saved where a call takes seconds.
        self.warm_s = ([ns / 1e9 for ns in a.single_ns], [ns / 1e9 for ns in b.single_ns])
        return grain_ns[0]

    def choose(self, side: Side, grain_ns: tuple[float, float]) -> Block:
        if self.settings.block is None:
            return choose_block(self.watch, side, grain_ns)
        return Block(1 if self.watch.single_calls(side) else self.settings.block, [])

    def warm_up(self, began: int, tidy: Callable[[int], None]) -> tuple[int, bool]:
        """Run pairs until both sides are steady or a limit is reached; returns their number and which it was."""
        settings, pairs = self.settings, 0
        while not self.is_warm():
            if pairs >= settings.warmup_max_pairs or self.seconds_since(began) >= settings.warmup_max_s:
                return pairs, False
            for side, reading in enumerate(self.time_pair(b_first(settings.order, self.seed, self.name, pairs))):
                self.warm_s[side].append(reading.ns / self.blocks[side] / 1e9)
            pairs += 1
            tidy(pairs)
        return pairs, True

    def is_warm(self) -> bool:
        settings = self.settings
        enough = min(map(len, self.warm_s)) >= settings.warmup_min_pairs
        return enough and all(is_steady(s, settings.warmup_window, settings.warmup_tol) for s in self.warm_s)

    def seconds_since(self, moment: int) -> float:
        return (self.clock.now_ns() - moment) / 1e9

    def time_pair(self, reversed_order: bool) -> tuple[Reading, Reading]:
        if reversed_order:
            b = self.watch.time(self.sides[1], self.blocks[1])
            return self.watch.time(self.sides[0], self.blocks[0]), b
        a = self.watch.time(self.sides[0], self.blocks[0])
        return a, self.watch.time(self.sides[1], self.blocks[1])

    def measure(self, began: int, tidy: Callable[[int], None]) -> str:
        """Measure pairs; returns why it ended."""
        self.snapshots.append(self.probe.snapshot())
        look_at = looks(self.first_look(), self.settings.max_pairs, self.settings.look_growth)
        stop = ""
        while not stop:
            self.add_pair(began)
            n = len(self.pairs)
            spent = self.seconds_since(began) >= self.settings.max_time_s
            if n in look_at or spent:
                self.snapshots.append(self.probe.snapshot())
                stop = self.look(n, spent)
            tidy(n)
        return stop

    def first_look(self) -> int:
        slow = all(self.warm_s) and sum(s[-1] * k for s, k in zip(self.warm_s, self.blocks, strict=True)) > SLOW_PAIR_S
        least = self.settings.min_pairs
        return min(least, statistics.smallest_n(self.settings.ci_level)) if slow else least

    def add_pair(self, began: int) -> None:
        """Measure the next pair, again where the accelerator was held back meanwhile: whichever side was slow."""
        reversed_order = b_first(self.settings.order, self.seed, self.name, len(self.pairs))
        while True:
            at_ns = self.clock.now_ns() - began
            a, b = self.time_pair(reversed_order)
            reasons = self.probe.held_back()
            self.held_back |= reasons
            if not reasons or self.redone == MAX_REDONE or self.seconds_since(began) >= self.settings.max_time_s:
                break
            self.clock.sleep(min(_REDO_LONGEST_S, _REDO_FIRST_S * _REDO_GROWTH**self.redone))
            self.redone += 1
        self.pairs.append(Pair(reversed_order, at_ns, a, b))

    def look(self, n: int, spent: bool) -> str:
        """Why to stop now, or "". Decided by the width of the interval only, never by where it lies."""
        settings = self.settings
        half_width = statistics.hodges_lehmann(log_ratios(self.arrays()), settings.ci_level).half_width
        if half_width <= settings.rel_ci:
            return "target"
        if spent:
            return "budget"
        needed = n * (half_width / settings.rel_ci) ** 2
        if n >= settings.futility_from and needed > settings.futility * settings.max_pairs:
            return "futile"
        return "max_pairs" if n >= settings.max_pairs else ""
