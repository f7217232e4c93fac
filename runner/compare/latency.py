"""Absolute times of two runs: compared only over fresh processes, from the raw samples of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from runner.compare.judge import LEVEL
from runner.compare.sides import Entry
from runner.measure.comparisons import Estimate
from runner.measure.statistics import Interval, median_interval, z_of
from runner.report.terminal import positive

#: A process has a memory layout of its own, and with it a speed of its own; fewer than three say little about it.
MIN_PROCESSES = 3


def speed_of(entry: Entry) -> Estimate | None:
    """Speed (1 / latency in ms) of the backend's side over the processes of an ok row.

    None for fewer than three processes, or without their raw samples.
    """
    return estimate(_times_ms(entry)) if entry.ok else None


def mean_speed_of(entry: Entry) -> Estimate | None:
    """1 / column `mean` of an ok row, None where it has no such column.

    Its error is that of the processes' means; nan for fewer than three processes, or without their raw samples.
    """
    mean = entry.row.get("mean")
    if not entry.ok or not positive(mean):
        return None
    found = estimate(_times_ms(entry), _log_mean)
    processes = entry.row.get("n_processes") or 1
    return Estimate(-math.log(mean), found.se_within if found else math.nan, processes)


def _times_ms(entry: Entry) -> list[NDArray[np.float64]]:
    """Times per call of side B in each process; none for fewer than three processes, or where one kept no samples."""
    processes, path = entry.row.get("n_processes") or 1, entry.samples()
    if path is None or processes < MIN_PROCESSES:
        return []
    with np.load(path) as arrays:
        times = [arrays[name] * 1e3 for i in range(processes) if (name := f"tB_{i}") in arrays]
    return times if len(times) == processes else []


def _log_median(times: NDArray[np.float64]) -> Interval:
    return median_interval(np.log(times))


def _log_mean(times: NDArray[np.float64]) -> Interval:
    """Its error is the mean's relative one."""
    center, half = math.log(times.mean()), math.nan
    if len(times) > 1:
        half = z_of(LEVEL) * float(times.std(ddof=1) / times.mean()) / math.sqrt(len(times))
    return Interval(center, center - half, center + half, LEVEL)


def estimate(
    times: Sequence[NDArray[np.float64]], center_of: Callable[[NDArray[np.float64]], Interval] = _log_median
) -> Estimate | None:
    """Mean over processes of minus the log time; None without any, or where one has too few samples for an interval.

    The error is what Student's interval over the processes amounts to: a few of them tell little about their spread.
    """
    found = [center_of(t) for t in times]
    within = math.sqrt(sum(interval.se**2 for interval in found) / len(found)) if found else math.nan
    if not math.isfinite(within):
        return None
    centers = np.asarray([interval.center for interval in found])
    spread = max(float(centers.std(ddof=1)), within)
    student = float(special.stdtrit(len(found) - 1, 0.5 + LEVEL / 2)) / z_of(LEVEL)
    return Estimate(-float(centers.mean()), student * spread, len(found))
