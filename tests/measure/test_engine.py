"""The engine in simulated worlds: no real clock, no waiting."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from runner.measure.columns import COLUMNS
from runner.measure.engine import Measurement, Side, measure
from runner.measure.measurement import summarise
from runner.measure.settings import ClockKind, Gc, Measure, Order

# Collecting garbage is the only slow thing in a simulated measurement; one test has it on.
QUICK = Measure(gc=Gc.inherit)


def compare(world: Any, settings: Measure = QUICK, **arguments: Any) -> Measurement:
    """Measure side b of a world against side a."""
    options = {"seed": 0, "name": "model", "clock": world, "device": world} | arguments
    return measure(world.side("a"), world.side("b"), settings, **options)


def constant(a_s: float, b_s: float) -> Callable[[str, float, int], float]:
    return lambda side, _t, _n: a_s if side == "a" else b_s


def noisy(a_s: float, b_s: float, sd: float, seed: int = 0) -> Callable[[str, float, int], float]:
    rng = np.random.default_rng(seed)
    return lambda side, _t, _n: (a_s if side == "a" else b_s) * math.exp(rng.normal(0, sd))


def test_constant_cost_gives_the_exact_ratio_after_the_fewest_pairs(world: Any) -> None:
    """2 ms against 1 ms: the ratio up to the clock's overhead, 10 pairs, target reached."""
    row = compare(world(constant(2e-3, 1e-3))).row()
    assert row["speedup"] == pytest.approx(2, rel=2e-4)
    assert (row["n_pairs"], row["stop"], row["converged"], row["steady"]) == (10, "target", True, True)
    assert (row["block_a"], row["block_b"]) == (1, 1)
    assert row["verdict"] == "faster"


def test_common_drift_cancels(world: Any) -> None:
    """Both sides drift by 20 % with a period of half a second; the truth of 1.5 is in the interval."""
    cost = constant(3e-3, 2e-3)
    row = compare(world(lambda s, t, n: cost(s, t, n) * (1 + 0.2 * math.sin(4 * math.pi * t)))).row()
    assert row["speedup_lo"] <= 1.5 <= row["speedup_hi"]
    assert row["speedup"] == pytest.approx(1.5, rel=0.01)


def test_a_clock_that_halves_midway_hurts_one_pair_only(world: Any) -> None:
    """The frequency halves in the middle of the pairs; the error stays below 1 %."""
    cost = constant(3e-3, 2e-3)
    row = compare(world(lambda s, t, n: cost(s, t, n) * (2 if n > 30 else 1))).row()
    assert row["speedup"] == pytest.approx(1.5, rel=0.01)
    assert row["drift_pct"] > 90


def test_outliers_are_kept_and_do_no_harm(world: Any) -> None:
    """A tenth of the calls take ten times as long; the error stays below 2 %."""
    rng = np.random.default_rng(3)
    cost, ripple = constant(3e-3, 2e-3), noisy(1, 1, 0.005)
    row = compare(world(lambda s, t, n: cost(s, t, n) * ripple(s, t, n) * (10 if rng.random() < 0.1 else 1))).row()
    assert row["speedup"] == pytest.approx(1.5, rel=0.02)
    assert row["stop"] == "target"


def test_a_short_call_is_measured_in_blocks(world: Any) -> None:
    """3 us under a clock of 1 us: blocks of 128 to 512 calls."""
    row = compare(world(constant(3e-6, 3e-6), tick_ns=1000)).row()
    assert 128 <= row["block_a"] == row["block_b"] <= 512
    assert row["speedup"] == pytest.approx(1, rel=0.005)


def test_each_side_has_its_own_block(world: Any) -> None:
    """5 us against 5 ms: only the short side is repeated."""
    row = compare(world(constant(5e-6, 5e-3))).row()
    assert row["block_a"] == 16
    assert row["block_b"] == 1
    assert row["speedup"] == pytest.approx(1e-3, rel=0.01)


def test_warm_up_waits_for_the_last_improvement(world: Any) -> None:
    """An excess of 30 % that halves every 3 calls is over when measuring begins."""
    row = compare(world(lambda _s, _t, n: 2e-3 * (1 + 0.3 * 0.5 ** (n / 3)))).row()
    assert row["steady"]
    assert row["warmup_pairs"] <= 20
    assert row["speedup"] == pytest.approx(1, rel=0.01)


def test_warm_up_gives_up_on_a_model_that_keeps_improving(world: Any) -> None:
    """1 % faster with each call: no endless loop, and the row says that it was not steady."""
    measurement = compare(world(lambda _s, _t, n: 2e-3 * 0.99**n))
    row = measurement.row()
    assert (row["steady"], row["warmup_pairs"]) == (False, 60)
    assert "not_steady" in measurement.flags


def test_a_model_that_gets_slower_still_ends(world: Any) -> None:
    """1 % slower with each call: measured, and the drift is in the row."""
    row = compare(world(lambda _s, _t, n: 2e-3 * 1.01**n)).row()
    assert row["speedup"] == pytest.approx(1, rel=0.02)
    assert row["drift_pct"] > 5


def test_hopeless_noise_is_given_up(world: Any) -> None:
    """With a standard deviation of 40 % no 60 pairs would do: futile at the first look that may say so."""
    measurement = compare(world(noisy(2e-3, 2e-3, 0.4)))
    row = measurement.row()
    assert (row["stop"], row["n_pairs"], row["converged"]) == ("futile", 20, False)
    assert "unconverged" in measurement.flags


def test_slow_calls_stop_at_the_budget(world: Any) -> None:
    """Noisy calls of 2 s under a budget of 30 s: 8 pairs, with an interval."""
    row = compare(world(noisy(2, 2, 0.1, seed=1))).row()
    assert row["stop"] == "budget"
    assert row["n_pairs"] in (7, 8)
    assert row["rel_hw"] > 0.02
    assert row["measure_s"] < 36


def test_slow_steady_calls_need_six_pairs_only(world: Any) -> None:
    """A pair of more than 3 s is looked at after 6 pairs."""
    row = compare(world(constant(2, 1.9))).row()
    assert (row["n_pairs"], row["stop"]) == (6, "target")


def test_a_call_of_20_s_runs_four_times_in_all(world: Any) -> None:
    """One call a side to choose the block, no further warm-up, one pair; the interval is empty, not zero."""
    simulated = world(constant(20, 20))
    measurement = compare(simulated)
    row = measurement.row()
    assert len(simulated.calls) == 4
    assert (row["stop"], row["converged"], row["n_pairs"], row["warmup_pairs"]) == ("budget", False, 1, 0)
    assert [row[name] for name in ("speedup_lo", "speedup_hi", "rel_hw", "se_within", "mde80")] == [None] * 5
    assert row["verdict"] == "inconclusive"
    assert "unconverged" in measurement.flags


def test_the_verdict_follows_the_interval_alone(world: Any) -> None:
    """A row that did not converge and jumps between levels says what its interval says, and so do its samples."""

    def jumping(side: str, _t: float, n: int) -> float:
        return 1e-3 if side == "b" else 2e-3 if n % 20 == 0 else 6e-3 * (1 + n % 7 / 2)

    measurement = compare(world(jumping))
    row = measurement.row()
    assert {"unconverged", "modes"} <= set(measurement.flags)
    assert (row["verdict"], row["speedup_lo"] > 1.01) == ("faster", True)
    assert row["verdict"] == summarise(measurement.samples(), QUICK)["verdict"]


def test_max_pairs_ends_a_measurement_that_is_not_hopeless(world: Any) -> None:
    """Too wide after max_pairs, but not so wide as to be given up."""
    settings = replace(QUICK, max_pairs=20, futility=100.0, rel_ci=0.001)
    row = compare(world(noisy(2e-3, 2e-3, 0.01)), settings).row()
    assert (row["stop"], row["n_pairs"]) == ("max_pairs", 20)


def test_resonance_misleads_a_fixed_order_but_not_a_random_one(world: Any) -> None:
    """Every second call is 10 % slower: abab reports 10 % on identical sides, random_pair's interval holds 1."""

    def cost(_side: str, _t: float, n: int) -> float:
        return 2.2e-3 if n % 2 else 2e-3

    fixed = compare(world(cost), replace(QUICK, order=Order.abab)).row()
    random = compare(world(cost)).row()
    assert abs(math.log(fixed["speedup"])) == pytest.approx(math.log(1.1), rel=0.01)
    assert fixed["converged"]
    assert random["speedup_lo"] <= 1 <= random["speedup_hi"]


def correlated(effect: float, seed: int) -> Callable[[str, float, int], float]:
    """AR(1) noise, rho 0.8, common to both sides; a is slower by `effect`."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.05 * math.sqrt(1 - 0.8**2), size=400).tolist()
    for i in range(1, len(noise)):
        noise[i] += 0.8 * noise[i - 1]
    return lambda side, _t, n: 2e-3 * math.exp(noise[n % 400] + (effect if side == "a" else 0))


def rows_of_400_seeds(world: Any, effect: float) -> list[dict[str, Any]]:
    return [compare(world(correlated(effect, seed)), seed=seed).row() for seed in range(400)]


def test_identical_sides_raise_few_alarms_under_correlated_noise(world: Any) -> None:
    """Of 400 A/A measurements fewer than 8 % have an interval without 1."""
    rows = rows_of_400_seeds(world, 0.0)
    alarms = sum(not row["speedup_lo"] <= 1 <= row["speedup_hi"] for row in rows)
    assert alarms / len(rows) < 0.08


def test_the_detectable_effect_is_detected_under_correlated_noise(world: Any) -> None:
    """An effect of mde80 at +-2 % is found in more than 75 % of 400 measurements, and covered in 92 %."""
    effect = 2.8016 * 0.02 / 1.96
    rows = rows_of_400_seeds(world, effect)
    found = sum(row["speedup_lo"] > 1 for row in rows)
    covered = sum(row["speedup_lo"] <= math.exp(effect) <= row["speedup_hi"] for row in rows)
    assert found / len(rows) > 0.75
    assert covered / len(rows) > 0.92


def test_the_same_seed_gives_the_same_calls_and_row(world: Any) -> None:
    """Everything repeats with the seed; another seed or another name gives another order."""
    worlds = [world(noisy(2e-3, 1e-3, 0.02)) for _ in range(4)]
    first, second = (compare(w).row() for w in worlds[:2])
    compare(worlds[2], seed=1)
    compare(worlds[3], name="other")
    assert first == second
    assert worlds[0].calls == worlds[1].calls
    assert worlds[0].calls[6:] != worlds[2].calls[6:]
    assert worlds[0].calls[6:] != worlds[3].calls[6:]


def test_the_row_has_exactly_the_declared_columns_with_their_types(world: Any) -> None:
    """Names, order and types of a row are those of the table."""
    row = compare(world(constant(2e-3, 1e-3))).row()
    assert list(row) == [name for name, *_ in COLUMNS]
    for name, kind, *_ in COLUMNS:
        assert row[name] is None or type(row[name]) is kind, name


def test_statistics_are_recomputed_from_the_samples(world: Any) -> None:
    """What `summarise` makes of the samples is in the row, value for value."""
    measurement = compare(world(noisy(2e-3, 1e-3, 0.03)))
    row, again = measurement.row(), summarise(measurement.samples(), QUICK)
    assert again.items() <= row.items()
    assert {"speedup", "rel_hw", "drift_pct", "minflt_a", "converged"} <= again.keys()


def test_the_samples_tell_the_order_of_the_calls(world: Any) -> None:
    """`first` says which side ran first in each pair, `at_s` when."""
    simulated = world(constant(2e-3, 1e-3))
    samples = compare(simulated).samples()
    measured = simulated.calls[-2 * len(samples["first"]) :]
    assert [side == "b" for side in measured[::2]] == samples["first"].astype(bool).tolist()
    assert (np.diff(samples["at_s"]) > 0).all()


def test_an_exception_in_a_side_propagates_and_restores_the_collector(world: Any) -> None:
    """The caller makes a row of it; garbage collection is enabled as before."""

    def fail() -> None:
        raise RuntimeError("side b broke")

    simulated = world(constant(2e-3, 1e-3))
    with pytest.raises(RuntimeError, match="side b broke"):
        measure(simulated.side("a"), Side(fail), Measure(), seed=0, name="m", clock=simulated, device=simulated)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_a_reset_runs_before_every_call_outside_the_clock(world: Any) -> None:
    """A side whose inputs are changed by the model gets blocks of one call, and its reset is not timed."""
    simulated = world(constant(5e-6, 5e-6))
    log: list[str] = []

    def reset() -> None:
        log.append("reset")
        simulated.time_ns += 1e9

    def call() -> None:
        log.append("call")
        simulated.call("a")

    settings = replace(QUICK, max_time_s=1e6, warmup_max_s=1e6)
    sides = (Side(call, reset), simulated.side("b"))
    row = measure(*sides, settings, seed=0, name="m", clock=simulated, device=simulated).row()
    assert (row["block_a"], row["block_b"]) == (1, 16)
    assert log == ["reset", "call"] * (len(log) // 2)
    assert row["eager_latency"] < 0.01


def test_the_random_state_is_reset_before_every_block(world: Any) -> None:
    """As many resets as blocks, empty ones that measure the clock's overhead included."""
    resets: list[int] = []
    simulated = world(constant(2e-3, 1e-3))
    compare(simulated, reset_rng=lambda: resets.append(len(simulated.calls)))
    assert set(range(len(simulated.calls))) <= set(resets)


def test_one_side_that_still_warms_is_flagged(world: Any) -> None:
    """A ratio that differs between the halves is an unsteady one."""
    rng = np.random.default_rng(0)

    def cost(side: str, _t: float, n: int) -> float:
        late = side == "b" and n > 50
        return 2e-3 * (0.9 if late else 1) * math.exp(rng.normal(0, 0.002))

    measurement = compare(world(cost), replace(QUICK, min_pairs=30))
    assert measurement.row()["ratio_drift_p"] < 0.01
    assert "unsteady_ratio" in measurement.flags


def test_two_modes_are_flagged(world: Any) -> None:
    """The fastest calls tell another story than the typical ones."""
    rng = np.random.default_rng(0)
    measurement = compare(world(lambda s, _t, _n: 1e-3 if s == "a" and rng.random() < 0.2 else 2e-3))
    assert "modes" in measurement.flags


def test_a_given_block_is_used(world: Any) -> None:
    """`measure.block=3` means three calls, on both sides."""
    row = compare(world(constant(2e-3, 1e-3)), replace(QUICK, block=3)).row()
    assert (row["block_a"], row["block_b"]) == (3, 3)
    assert row["speedup"] == pytest.approx(2, rel=1e-3)


def test_the_collector_stays_out_of_blocks(world: Any) -> None:
    """With gc=freeze no collection happens inside a call, and garbage is collected between pairs."""
    enabled: list[bool] = []
    simulated = world(lambda *_: enabled.append(gc.isenabled()) or 2e-3)
    row = compare(simulated, Measure()).row()
    assert not any(enabled)
    assert gc.isenabled()
    assert row["gc"] == "freeze"


def test_the_device_clock_needs_events(world: Any) -> None:
    """A device without events refuses the device clock in one sentence."""
    with pytest.raises(ValueError, match=r"measure\.clock is device .* use measure\.clock=wall"):
        compare(world(constant(1e-3, 1e-3)), clock_kind=ClockKind.device)
