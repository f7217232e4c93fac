"""Absolute latencies of two runs: compared only over fresh processes, from the raw samples of each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from runner.compare.judge import LEVEL
from runner.compare.sides import Entry
from runner.measure.comparisons import Estimate
from runner.measure.statistics import median_interval, z_of

#: A process has a memory layout of its own, and with it a speed of its own; fewer than three say little about it.
MIN_PROCESSES = 3


def speed_of(entry: Entry) -> Estimate | None:
    """Speed (1 / latency in ms) of the backend's side over the processes of an ok row.

    None for fewer than three processes, or without their raw samples.
    """
    processes, path = entry.row.get("n_processes") or 1, entry.samples()
    if not entry.ok or path is None or processes < MIN_PROCESSES:
        return None
    with np.load(path) as arrays:
        names = [name for i in range(processes) if (name := f"tB_{i}") in arrays]
        times = [arrays[name] * 1e3 for name in names]
    return estimate(times) if len(times) == processes else None


def estimate(times: Sequence[NDArray[np.float64]]) -> Estimate | None:
    """Mean over processes of minus the log median time; None where a process has too few samples for an interval.

    The error is what Student's interval over the processes amounts to: a few of them tell little about their spread.
    """
    found = [median_interval(np.log(t)) for t in times]
    within = math.sqrt(sum(interval.se**2 for interval in found) / len(found))
    if not math.isfinite(within):
        return None
    centers = np.asarray([interval.center for interval in found])
    spread = max(float(centers.std(ddof=1)), within)
    student = float(special.stdtrit(len(times) - 1, 0.5 + LEVEL / 2)) / z_of(LEVEL)
    return Estimate(-float(centers.mean()), student * spread, len(times))
