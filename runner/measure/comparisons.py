"""Tests for the difference between two result files: many models at once, standard errors known per row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

#: Standard deviation between processes that is assumed at least, in log units.
BETWEEN_SD_FLOOR = 0.01
#: Relative change below which nothing is flagged, and within which a row counts as unchanged.
THRESHOLD = 0.03
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Estimate:
    """A row's speedup: its natural logarithm, the standard error within one process, the number of processes."""

    log_speedup: float
    se_within: float
    processes: int = 1


@dataclass(frozen=True)
class Delta:
    """Change of a log speedup from the old to the new file, its standard error and two-sided p-value."""

    delta: float
    se: float
    p: float


def delta_test(new: Estimate, old: Estimate, between_sd: float = BETWEEN_SD_FLOOR) -> Delta:
    """Compare one row of two files; `between_sd` is raised to the floor of 1 %.

    SE^2 = se_new^2/K_new + se_old^2/K_old + sigma_p^2 (1/K_new + 1/K_old).
    """
    sigma = max(between_sd, BETWEEN_SD_FLOOR)
    variance = sum((row.se_within**2 + sigma**2) / row.processes for row in (new, old))
    delta, se = new.log_speedup - old.log_speedup, math.sqrt(variance)
    return Delta(delta, se, 2 * float(special.ndtr(-abs(delta) / se)))


def pooled_between_sd(sds: Sequence[float], processes: Sequence[int]) -> float:
    """Between-process standard deviation of several rows with K >= 2 processes each; the floor where there are none."""
    freedom = np.asarray(processes, dtype=np.float64) - 1
    if not freedom.sum():
        return BETWEEN_SD_FLOOR
    pooled = math.sqrt(float((freedom * np.square(sds)).sum() / freedom.sum()))
    return max(pooled, BETWEEN_SD_FLOOR)


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Holm's adjusted p-values, in the order given: controls the chance of any false flag."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return _restore(stepped, order)


def benjamini_hochberg(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Benjamini and Hochberg's adjusted p-values, in the order given: controls the share of false flags."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    return _restore(np.minimum.accumulate(scaled[::-1])[::-1], order)


def _restore(values: NDArray[np.float64], order: NDArray[np.intp]) -> NDArray[np.float64]:
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(values, 1.0)
    return adjusted


def equivalent(delta: Delta, margin: float = THRESHOLD, alpha: float = SIGNIFICANCE) -> bool:
    """Two one-sided tests: does the (1 - 2 alpha) interval of the change lie within +-margin?"""
    return abs(delta.delta) + float(special.ndtri(1 - alpha)) * delta.se <= math.log1p(margin)


def change(delta: Delta, adjusted_p: float, margin: float = THRESHOLD) -> str:
    """regressed, improved, unchanged or inconclusive.

    A change is one that is both significant after adjustment and at least `margin` large.
    """
    if adjusted_p <= SIGNIFICANCE and abs(delta.delta) >= math.log1p(margin):
        return "regressed" if delta.delta < 0 else "improved"
    return "unchanged" if equivalent(delta, margin) else "inconclusive"
