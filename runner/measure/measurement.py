"""What was measured: raw samples, the statistics that follow from them, the row and its flags."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.measure import statistics
from runner.measure.blocks import Reading
from runner.measure.columns import COLUMNS
from runner.measure.environment import Environment
from runner.measure.settings import Measure

Samples = Mapping[str, NDArray[Any]]

MODES_LOG_RATIO = 0.05
RATIO_DRIFT_P = 0.01
PAGE_FAULTS_PER_CALL = 50
PREEMPTIONS_PER_S = 50
OVERHEAD_SHARE = 0.02
HELPERS_PCT = 1
#: Column, limit that its size may not exceed, flag.
NOISE = (
    ("psi_cpu_pct", 10, "cpu_pressure"),
    ("run_delay_pct", 2, "run_delay"),
    ("steal_pct", 1, "steal"),
    ("canary_drift_pct", 5, "canary_drift"),
)

#: Every word that `Measurement.flags` may hold.
FLAGS = frozenset(
    {
        *("unconverged", "not_steady", "unsteady_ratio", "modes", "page_faults", "clock_overhead", "governor"),
        *("preempted", "load", "busy_helpers", "gpu_throttle", "gpu_shared"),
        *(flag for _, _, flag in NOISE),
    }
)


@dataclass(frozen=True)
class Pair:
    """One block of each side; `at_ns` since measuring began."""

    b_first: bool
    at_ns: int
    a: Reading
    b: Reading


@dataclass(frozen=True)
class Machine:
    """What the flags are judged against, and what was seen around the measurement."""

    environment: Environment
    canary_ms: tuple[float | None, float | None]  # before, after
    threads: int
    cores: int
    overhead_ns: float  # of timing an empty block


def pack(
    pairs: Sequence[Pair], blocks: tuple[int, int], warmup_s: tuple[list[float], list[float]], by_device: bool
) -> dict[str, NDArray[Any]]:
    """Samples of a measurement as arrays; see `Measurement.samples`."""
    arrays: dict[str, NDArray[Any]] = {
        "first": np.array([pair.b_first for pair in pairs], dtype=np.uint8),
        "at_s": np.array([pair.at_ns for pair in pairs]) / 1e9,
        "block": np.array(blocks),
        "by_device": np.array([by_device], dtype=np.uint8),
        "warm_a": np.array(warmup_s[0]),
        "warm_b": np.array(warmup_s[1]),
    }
    for side, calls, readings in (
        ("a", blocks[0], [pair.a for pair in pairs]),
        ("b", blocks[1], [pair.b for pair in pairs]),
    ):
        ns, wall, device, minflt, nivcsw = np.array(readings, dtype=np.float64).T
        arrays[f"t{side.upper()}"] = ns / calls / 1e9
        arrays[f"wall_{side}"] = wall / calls / 1e9
        arrays[f"device_{side}"] = device / calls / 1e9
        arrays[f"minflt_{side}"] = minflt
        arrays[f"nivcsw_{side}"] = nivcsw
    return arrays


def log_ratios(samples: Samples) -> NDArray[np.float64]:
    """log(tA / tB) of every pair."""
    ratios: NDArray[np.float64] = np.log(samples["tA"] / samples["tB"])
    return ratios


def summarise(samples: Samples, settings: Measure) -> dict[str, Any]:
    """Every column that follows from the samples alone; None where it cannot be known.

    Of `settings` it uses `ci_level`, `rel_ci` and `practical`. Needs at least one pair; imports no torch.
    """
    d = log_ratios(samples)
    interval = statistics.hodges_lehmann(d, settings.ci_level)
    row = {
        "speedup": math.exp(interval.center),
        "speedup_lo": math.exp(interval.lo),
        "speedup_hi": math.exp(interval.hi),
        "ci_level": settings.ci_level,
        "rel_hw": interval.half_width,
        "se_within": interval.se,
        "mde80": statistics.detectable(interval.se, settings.ci_level),
        "verdict": statistics.verdict(interval, settings.practical),
        "converged": interval.half_width <= settings.rel_ci,
        "n_pairs": len(d),
        "block_a": int(samples["block"][0]),
        "block_b": int(samples["block"][1]),
    }
    row |= _latencies(samples) | _device_times(samples) | _drift(samples["tA"], d) | _counters(samples)
    return {name: _known(value) for name, value in row.items()}


def _latencies(samples: Samples) -> dict[str, Any]:
    q1_a, a, q3_a = statistics.quartiles(samples["tA"])
    q1_b, b, q3_b = statistics.quartiles(samples["tB"])
    return {
        "eager_latency": a * 1e3,
        "abs_latency": b * 1e3,
        "iqr_a_pct": _ratio(100 * (q3_a - q1_a), a),
        "iqr_b_pct": _ratio(100 * (q3_b - q1_b), b),
        "speedup_median_ratio": _ratio(a, b),
        "speedup_min": _ratio(float(samples["tA"].min()), float(samples["tB"].min())),
    }


def _device_times(samples: Samples) -> dict[str, Any]:
    return {f"device_ms_{side}": float(np.median(samples[f"device_{side}"])) * 1e3 for side in "ab"}


def _drift(seconds: NDArray[np.float64], d: NDArray[np.float64]) -> dict[str, Any]:
    half = len(d) // 2
    if not half:
        return {"drift_pct": None, "ratio_drift_p": None}
    before, after = float(np.median(seconds[:half])), float(np.median(seconds[half:]))
    return {
        "drift_pct": 100 * (_ratio(after, before) - 1),
        "ratio_drift_p": statistics.mann_whitney_p(d[:half], d[half:]),
    }


def _counters(samples: Samples) -> dict[str, Any]:
    calls_a, calls_b = samples["block"]
    measured_s = float(samples["wall_a"].sum() * calls_a + samples["wall_b"].sum() * calls_b)
    switches = float(samples["nivcsw_a"].sum() + samples["nivcsw_b"].sum())
    return {
        "minflt_a": float(samples["minflt_a"].mean() / calls_a),
        "minflt_b": float(samples["minflt_b"].mean() / calls_b),
        "nivcsw_per_s": _ratio(switches, measured_s),
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


@dataclass(frozen=True)
class Measurement:
    """The result of `measure`.

    `facts` are the columns that do not follow from the samples (stop, order, seed, clock, ...).
    """

    arrays: dict[str, NDArray[Any]]
    settings: Measure
    facts: dict[str, Any]
    machine: Machine

    def samples(self) -> dict[str, NDArray[Any]]:
        """Raw samples, one element per pair in the order measured; `summarise` recomputes the statistics from them.

        `tA`, `tB`: seconds per call by the row's clock. `wall_a`, `device_a`, ...: the same by each clock (device:
        nan without events; wall: contains the priming of the queue under the device clock). `first`: 1 where B ran
        first. `at_s`: start of the pair. `minflt_a`, `nivcsw_a`, ...: counts per block. `block`: calls per block of A
        and B. `warm_a`, `warm_b`: seconds per call of the warm-up. `by_device`: was the row's clock the device's?
        """
        return dict(self.arrays)

    def row(self) -> dict[str, Any]:
        """Exactly the columns of `COLUMNS`, in their order; None where there is nothing to say."""
        before, after = self.machine.canary_ms
        values = summarise(self.arrays, self.settings) | self.machine.environment.columns | self.facts
        values["canary_ms"] = before
        values["canary_drift_pct"] = 100 * (after / before - 1) if before and after else None
        values["noisy"] = bool(self._noise(values))
        return {name: values[name] for name, *_ in COLUMNS}

    @property
    def flags(self) -> list[str]:
        """Words about this measurement that a reader should know; empty for an unremarkable one."""
        row = self.row()
        return [*self._quality(row), *self._noise(row)]

    def _quality(self, row: Mapping[str, Any]) -> list[str]:
        calls = self.arrays["block"]
        shortest_ns = 1e9 * min(np.median(self.arrays["tA"]) * calls[0], np.median(self.arrays["tB"]) * calls[1])
        faults = [row["minflt_a"] or 0, row["minflt_b"] or 0]
        drift_p, least = row["ratio_drift_p"], row["speedup_min"]
        words = {
            "unconverged": not row["converged"],
            "not_steady": not row["steady"],
            "unsteady_ratio": drift_p is not None and drift_p < RATIO_DRIFT_P,
            "modes": bool(least) and abs(math.log(row["speedup"] / least)) > MODES_LOG_RATIO,
            "page_faults": max(faults) > PAGE_FAULTS_PER_CALL,
            "clock_overhead": bool(self.machine.overhead_ns > OVERHEAD_SHARE * shortest_ns),
            "governor": bool(row["governor"]) and not row["governor"].startswith(("performance", "no_turbo")),
        }
        return [word for word, holds in words.items() if holds]

    def _noise(self, row: Mapping[str, Any]) -> list[str]:
        found = [flag for column, limit, flag in NOISE if abs(row[column] or 0) > limit]
        words = {
            "preempted": (row["nivcsw_per_s"] or 0) > PREEMPTIONS_PER_S * self.machine.threads,
            "load": (row["load1"] or 0) > self.machine.cores,
            "busy_helpers": (self.machine.environment.helpers_pct or 0) > HELPERS_PCT,
            "gpu_throttle": bool(row["gpu_throttle"]),
            "gpu_shared": bool(row["gpu_shared"]),
        }
        return [*found, *(word for word, holds in words.items() if holds)]
