"""Estimates and intervals of a paired measurement, of several processes and of a suite; numpy and scipy.special only.

Ratios are handled as natural logarithms throughout; a caller exponentiates at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]

#: Above this many values a rank distribution is taken from the normal approximation.
EXACT_SIGNED_RANK_MAX = 200
EXACT_RANK_SUM_MAX = 50
POWER = 0.80
BOOTSTRAP_RESAMPLES = 10_000
BOOTSTRAP_SEED = 20_260_101
#: Above this many values the mean is normal for all that a bootstrap could tell, and resampling takes gigabytes.
BOOTSTRAP_MAX = 2_000


def z_of(level: float) -> float:
    """Two-sided normal quantile: 1.96 for a level of 0.95."""
    return float(special.ndtri(0.5 + level / 2))


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence limits; the limits are nan where the sample is too small for the level."""

    center: float
    lo: float
    hi: float
    level: float

    @property
    def half_width(self) -> float:
        """Half the distance between the limits, or nan."""
        return (self.hi - self.lo) / 2

    @property
    def se(self) -> float:
        """Standard error that a normal interval of this width has."""
        return self.half_width / z_of(self.level)


@cache
def signed_rank_k(n: int, level: float) -> int:
    """Largest k with P(T+ <= k) <= (1 - level) / 2 for Wilcoxon's signed-rank sum of n values; -1 where none has.

    Exact by counting subsets of {1..n} up to n = 200, then the normal approximation with continuity correction.
    """
    tail = (1 - level) / 2
    if n > EXACT_SIGNED_RANK_MAX:
        mean, variance = n * (n + 1) / 4, n * (n + 1) * (2 * n + 1) / 24
        return math.floor(mean - z_of(level) * math.sqrt(variance) - 0.5)
    return _last_within(signed_rank_cdf(n), tail)


def _last_within(cdf: Floats, tail: float) -> int:
    # The slack keeps a probability that equals the tail exactly (2 of 2**n) from being lost to rounding.
    return int(np.searchsorted(cdf, tail * (1 + 1e-12), side="right")) - 1


@cache
def signed_rank_cdf(n: int) -> Floats:
    """P(T+ <= t) for t = 0 .. n(n+1)/2."""
    mass = np.zeros(n * (n + 1) // 2 + 1)
    mass[0] = 1.0
    for rank in range(1, n + 1):
        with_rank = np.zeros_like(mass)
        with_rank[rank:] = mass[:-rank]
        mass = (mass + with_rank) / 2
    return np.cumsum(mass)


@cache
def smallest_n(level: float) -> int:
    """Fewest values for which a signed-rank interval of this level exists: 6 for 0.95."""
    return next(n for n in range(1, EXACT_SIGNED_RANK_MAX) if signed_rank_k(n, level) >= 0)


def walsh_averages(values: ArrayLike) -> Floats:
    """Sorted means of all pairs i <= j: n(n+1)/2 values."""
    x = np.asarray(values, dtype=np.float64)
    i, j = np.triu_indices(len(x))
    averages: Floats = np.sort((x[i] + x[j]) / 2)
    return averages


def hodges_lehmann(values: ArrayLike, level: float = 0.95) -> Interval:
    """Median of the Walsh averages with the signed-rank interval; needs at least one value, O(n^2) memory."""
    x = np.asarray(values, dtype=np.float64)
    averages = walsh_averages(x)
    center, k = _middle(averages), signed_rank_k(len(x), level)
    if k < 0:
        return Interval(center, math.nan, math.nan, level)
    return Interval(center, float(averages[k]), float(averages[len(averages) - k - 1]), level)


def _middle(ordered: Floats) -> float:
    half = len(ordered) // 2
    if len(ordered) % 2:
        return float(ordered[half])
    return float(ordered[half - 1] + ordered[half]) / 2


def median_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Median with the distribution-free interval between two order statistics (binomial)."""
    x = np.sort(np.asarray(values, dtype=np.float64))
    n = len(x)
    k = _last_within(special.bdtr(np.arange(n), n, 0.5), (1 - level) / 2)
    if k < 0:
        return Interval(_middle(x), math.nan, math.nan, level)
    return Interval(_middle(x), float(x[k]), float(x[n - k - 1]), level)


def quartiles(values: ArrayLike) -> tuple[float, float, float]:
    """First quartile, median, third quartile (linear interpolation)."""
    q1, q2, q3 = np.percentile(np.asarray(values, dtype=np.float64), (25, 50, 75))
    return float(q1), float(q2), float(q3)


def robust_sd(residuals: ArrayLike) -> float:
    """Standard deviation estimated from the median absolute residual."""
    return 1.4826 * float(np.median(np.abs(np.asarray(residuals, dtype=np.float64))))


def detectable(se: float, level: float = 0.95) -> float:
    """Smallest relative effect that is found with 80 % power: exp(2.80 se) - 1 at a level of 0.95."""
    return math.expm1((z_of(level) + float(special.ndtri(POWER))) * se)


def verdict(interval: Interval, margin: float) -> str:
    """faster, slower, same or inconclusive: where the interval of a log ratio lies against 1/(1+margin) .. 1+margin."""
    edge = math.log1p(margin)
    if interval.lo > edge:
        return "faster"
    if interval.hi < -edge:
        return "slower"
    if interval.lo >= -edge and interval.hi <= edge:
        return "same"
    return "inconclusive"


def mann_whitney_p(x: ArrayLike, y: ArrayLike) -> float:
    """Two-sided p-value of the rank-sum test; exact without ties up to 50 values a side, else normal with tie terms."""
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    everything = np.concatenate((a, b))
    ranks, ties = _mid_ranks(everything)
    u = float(ranks[: len(a)].sum()) - len(a) * (len(a) + 1) / 2
    smaller = min(u, len(a) * len(b) - u)
    if ties.max() == 1 and max(len(a), len(b)) <= EXACT_RANK_SUM_MAX:
        return min(1.0, 2 * float(rank_sum_cdf(len(a), len(b))[int(smaller)]))
    return _normal_rank_sum_p(smaller, len(a), len(b), ties)


def _mid_ranks(values: Floats) -> tuple[Floats, NDArray[np.int64]]:
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[where], counts


def _normal_rank_sum_p(smaller: float, m: int, n: int, ties: NDArray[np.int64]) -> float:
    total = m + n
    correction = float((ties**3 - ties).sum()) / (total * (total - 1))
    sd = math.sqrt(m * n / 12 * (total + 1 - correction))
    if sd == 0:
        return 1.0
    return min(1.0, 2 * float(special.ndtr((smaller + 0.5 - m * n / 2) / sd)))


@cache
def rank_sum_cdf(m: int, n: int) -> Floats:
    """P(U <= u) for u = 0 .. m n, for samples of m and n values without ties."""
    # ways[j, s]: how many subsets of j of the ranks seen so far have the sum s.
    top = m * (m + 2 * n + 1) // 2
    ways = np.zeros((m + 1, top + 1))
    ways[0, 0] = 1.0
    for rank in range(1, m + n + 1):
        ways[1:, rank:] += ways[:-1, : top + 1 - rank].copy()
    counts = ways[m, m * (m + 1) // 2 :]
    cdf: Floats = np.cumsum(counts) / counts.sum()
    return cdf


@dataclass(frozen=True)
class Combined:
    """K processes taken together; logs.

    `between_sd` is what processes differ by beyond the error within each (variance components, never below 0).
    """

    interval: Interval
    between_sd: float
    within_sd: float
    n_processes: int


def combine_processes(estimates: Sequence[float], ses: Sequence[float], level: float = 0.95) -> Combined:
    """Mean of K log estimates with Student's interval (K - 1 degrees of freedom); limits are nan for K = 1.

    `ses` are the standard errors within each process; `within_sd` is their root mean square.
    """
    x, k = np.asarray(estimates, dtype=np.float64), len(estimates)
    mean, within = float(x.mean()), float(np.sqrt(np.mean(np.square(ses))))
    if k == 1:
        return Combined(Interval(mean, math.nan, math.nan, level), math.nan, within, 1)
    total = float(x.std(ddof=1))
    h = float(special.stdtrit(k - 1, 0.5 + level / 2)) * total / math.sqrt(k)
    between = math.sqrt(max(0.0, total**2 - within**2))
    return Combined(Interval(mean, mean - h, mean + h, level), between, within, k)


@dataclass(frozen=True)
class GeometricMean:
    """Geometric mean of a suite's ratios with its two intervals, all as ratios.

    `measurement`: how well this suite's mean is known; `suite`: models as a sample of all models (bootstrap).
    """

    center: float
    measurement: tuple[float, float]
    suite: tuple[float, float]
    n: int


def geometric_mean(ratios: Sequence[float], ses: Sequence[float], level: float = 0.95) -> GeometricMean:
    """Geometric mean of at least one ratio; `ses` are standard errors of the logs. The bootstrap's seed is fixed."""
    logs, n = np.log(np.asarray(ratios, dtype=np.float64)), len(ratios)
    mean = float(logs.mean())
    h = z_of(level) * math.sqrt(float(np.square(ses).sum())) / n
    return GeometricMean(math.exp(mean), (math.exp(mean - h), math.exp(mean + h)), _bootstrap_interval(logs, level), n)


def _bootstrap_interval(logs: Floats, level: float) -> tuple[float, float]:
    if len(logs) == 1:
        return math.nan, math.nan
    if len(logs) > BOOTSTRAP_MAX:
        mean, h = float(logs.mean()), z_of(level) * float(logs.std()) / math.sqrt(len(logs))
        return math.exp(mean - h), math.exp(mean + h)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    means = logs[rng.integers(len(logs), size=(BOOTSTRAP_RESAMPLES, len(logs)))].mean(axis=1)
    tail = 50 * (1 - level)
    lo, hi = np.exp(np.percentile(means, (tail, 100 - tail)))
    return float(lo), float(hi)
