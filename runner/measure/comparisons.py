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
    """Change of a log speedup from the old to the new file, its standard error and two-sided p-value.

    `freedom` is the degrees of freedom of the standard error: infinite where it is taken to be known.
    """

    delta: float
    se: float
    p: float
    freedom: float = math.inf

    def half_width(self, level: float) -> float:
        """Of the two-sided interval of the change."""
        return _quantile(0.5 + level / 2, self.freedom) * self.se


def _quantile(p: float, freedom: float) -> float:
    return float(special.ndtri(p) if math.isinf(freedom) else special.stdtrit(freedom, p))


@dataclass(frozen=True)
class Between:
    """Standard deviation between processes, in log units, and the degrees of freedom it was estimated with."""

    sd: float = BETWEEN_SD_FLOOR
    freedom: float = math.inf


def delta_test(new: Estimate, old: Estimate, between: Between | None = None) -> Delta:
    """Compare one row of two files; the standard deviation between processes is raised to the floor of 1 %.

    SE^2 = se_new^2/K_new + se_old^2/K_old + sigma_p^2 (1/K_new + 1/K_old).
    """
    between = between or Between()
    sigma = max(between.sd, BETWEEN_SD_FLOOR)
    variance = sum((row.se_within**2 + sigma**2) / row.processes for row in (new, old))
    delta, se = new.log_speedup - old.log_speedup, math.sqrt(variance)
    t = -abs(delta) / se
    tail = special.ndtr(t) if math.isinf(between.freedom) else special.stdtr(between.freedom, t)
    return Delta(delta, se, 2 * float(tail), between.freedom)


def between_processes(known: Sequence[Sequence[tuple[float, int]]]) -> tuple[Between, list[Between]]:
    """Spread between processes that models share, and the one to assume for each; at least 1 %.

    `known` holds for each model the standard deviation between processes and the number of processes (at least 2) of
    each of its rows that has them. Models share one estimate, but those that clearly vary more than the others (beyond
    the 99 % quantile of chi square) have their own: one restless model makes the others no less certain. Without any
    such row the 1 % is taken to be known.
    """
    freedom = np.array([sum(k - 1 for _, k in rows) for rows in known], dtype=np.float64)
    squares = np.array([sum((k - 1) * sd**2 for sd, k in rows) for rows in known], dtype=np.float64)
    some = freedom > 0
    if not some.any():
        return Between(), [Between()] * len(known)
    middle = float(np.median(squares[some] / special.chdtri(freedom[some], 0.5)))
    restless = some & (squares > max(middle, BETWEEN_SD_FLOOR**2) * special.chdtri(np.maximum(freedom, 1), 0.01))
    calm = some & ~restless
    total = float(freedom[calm].sum())
    shared = Between(max(math.sqrt(squares[calm].sum() / total), BETWEEN_SD_FLOOR), total)
    own = [Between(math.sqrt(square / max(f, 1.0)), float(f)) for square, f in zip(squares, freedom, strict=True)]
    return shared, [one if alone else shared for one, alone in zip(own, restless, strict=True)]


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
    return abs(delta.delta) + delta.half_width(1 - 2 * alpha) <= math.log1p(margin)


def change(delta: Delta, adjusted_p: float, margin: float = THRESHOLD) -> str:
    """regressed, improved, unchanged or inconclusive.

    A change is one that is both significant after adjustment and at least `margin` large.
    """
    if adjusted_p <= SIGNIFICANCE and abs(delta.delta) >= math.log1p(margin):
        return "regressed" if delta.delta < 0 else "improved"
    return "unchanged" if equivalent(delta, margin) else "inconclusive"
