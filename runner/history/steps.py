"""Finds steps in a noisy series: the piecewise constant curve with the least sum of weighted absolute deviations.

Absolute deviations, so that an outlier moves no level, and a price for each step, so that noise makes none. The
optimum's levels are values of the series; it is found exactly by dynamic programming over them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: A shorter series is not searched.
MIN_POINTS = 11
#: A level holds for at least so many points: a single one is an outlier, or not confirmed yet.
MIN_LENGTH = 2
#: Levels that are tried. A series with more values is searched over so many of its quantiles; the levels that are
#: reported are weighted medians of all values all the same.
MAX_LEVELS = 96
#: Series that are searched at a time, so that memory stays small.
TOGETHER = 64
#: Price of a step, in standard deviations of a point: PRICE * ln(n). Chosen so that at most 5 % of series without a
#: step are given one (tests/history/test_steps.py).
PRICE = 1.5
#: Two normal values differ by this times their standard deviation in the median.
MEDIAN_DIFFERENCE = 0.6745 * math.sqrt(2)


@dataclass(frozen=True)
class Segment:
    """Points start to stop - 1 with their level."""

    start: int
    stop: int
    level: float


def segments(values: Sequence[float], errors: Sequence[float]) -> list[Segment]:
    """The levels of one series; see `segments_of`."""
    return segments_of([(values, errors)])[0]


def segments_of(series: Sequence[tuple[Sequence[float], Sequence[float]]]) -> list[list[Segment]]:
    """The levels of several series, each given as values and errors; one level where it has fewer than MIN_POINTS.

    Errors are standard errors of the values, above 0. Where neighbours differ by more than the errors say, the errors
    are taken to be as much larger as that.
    """
    arrays = [(np.asarray(y, dtype=np.float64), 1 / np.asarray(e, dtype=np.float64)) for y, e in series]
    found = [[_segment(y, weights, 0, len(y))] for y, weights in arrays]
    long = [i for i, (y, _) in enumerate(arrays) if len(y) >= MIN_POINTS]
    for start in range(0, len(long), TOGETHER):
        part = long[start : start + TOGETHER]
        chosen = [arrays[i] for i in part]
        prices = [PRICE * math.log(len(y)) * scale(y, weights) for y, weights in chosen]
        for i, price, path in zip(part, prices, best_levels(chosen, prices), strict=True):
            bounds = _confirmed(_bounds(path), *arrays[i], price)
            found[i] = [_segment(*arrays[i], *bound) for bound in bounds]
    return found


def scale(y: Floats, weights: Floats) -> float:
    """How many times larger the scatter between neighbours is than the errors say; at least 1."""
    variances = 1 / weights[1:] ** 2 + 1 / weights[:-1] ** 2
    return max(1.0, float(np.median(np.abs(np.diff(y)) / np.sqrt(variances / 2))) / MEDIAN_DIFFERENCE)


def best_levels(series: Sequence[tuple[Floats, Floats]], prices: Sequence[float]) -> list[Floats]:
    """Level of every point of every series in its optimum over the values that it has (see MAX_LEVELS).

    The series go side by side, the shorter ones continued by points without weight.
    """
    longest = max(len(y) for y, _ in series)
    y, weights = np.zeros((2, longest, len(series), 1))
    levels = np.zeros((len(series), MAX_LEVELS))
    for place, (values, weight) in enumerate(series):
        y[: len(values), place, 0], weights[: len(values), place, 0] = values, weight
        levels[place] = _candidates(values)
    price, everyone = np.asarray(prices), np.arange(len(series))
    total = weights[0] * np.abs(y[0] - levels)
    cheapest = np.zeros((longest, len(series)), dtype=np.intp)
    switched = np.zeros((longest, len(series), MAX_LEVELS), dtype=bool)
    for i in range(1, longest):
        cheapest[i] = total.argmin(axis=1)
        bound = (total[everyone, cheapest[i]] + price)[:, None]
        np.greater(total, bound, out=switched[i])
        np.minimum(total, bound, out=total)
        total += weights[i] * np.abs(y[i] - levels)
    path = np.empty((longest, len(series)), dtype=np.intp)
    path[-1] = total.argmin(axis=1)
    for i in range(longest - 1, 0, -1):
        path[i - 1] = np.where(switched[i, everyone, path[i]], cheapest[i], path[i])
    return [levels[place][path[: len(values), place]] for place, (values, _) in enumerate(series)]


def _candidates(values: Floats) -> Floats:
    """MAX_LEVELS levels: the values, the last one repeated, or so many of their quantiles."""
    distinct = np.unique(values)
    if len(distinct) > MAX_LEVELS:
        return np.quantile(values, np.linspace(0, 1, MAX_LEVELS), method="nearest")
    return np.pad(distinct, (0, MAX_LEVELS - len(distinct)), mode="edge")


def weighted_median(values: Floats, weights: Floats) -> float:
    """The value at which half of the weight lies on either side; between two of them where it is undecided."""
    order = np.argsort(values, kind="stable")
    ordered, running = values[order], np.cumsum(weights[order])
    half = running[-1] / 2
    place = int(np.searchsorted(running, half * (1 - 1e-12)))
    if place + 1 < len(ordered) and math.isclose(running[place], half):
        return float(ordered[place] + ordered[place + 1]) / 2
    return float(ordered[place])


def _bounds(levels: Floats) -> list[tuple[int, int]]:
    ends = [*(np.flatnonzero(np.diff(levels)) + 1).tolist(), len(levels)]
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _confirmed(bounds: list[tuple[int, int]], y: Floats, weights: Floats, price: float) -> list[tuple[int, int]]:
    """Bounds without segments that are too short, nor the ones that two sides of an outlier then make."""
    while short := next((bound for bound in bounds if bound[1] - bound[0] < MIN_LENGTH and len(bounds) > 1), None):
        place = bounds.index(short)
        near = [i for i in (place - 1, place) if 0 <= i < len(bounds) - 1]
        bounds = _joined(bounds, min(near, key=lambda i: _loss(bounds[i : i + 2], y, weights)))
    while weak := [i for i in range(len(bounds) - 1) if _loss(bounds[i : i + 2], y, weights) < price]:
        bounds = _joined(bounds, weak[0])
    return bounds


def _joined(bounds: list[tuple[int, int]], place: int) -> list[tuple[int, int]]:
    """`bounds` with the segments `place` and the next in one."""
    return [*bounds[:place], (bounds[place][0], bounds[place + 1][1]), *bounds[place + 2 :]]


def _loss(pair: list[tuple[int, int]], y: Floats, weights: Floats) -> float:
    """What it costs to have one level in place of two."""
    return _cost(y, weights, pair[0][0], pair[1][1]) - sum(_cost(y, weights, *bound) for bound in pair)


def _cost(y: Floats, weights: Floats, start: int, stop: int) -> float:
    level = _segment(y, weights, start, stop).level
    return float((weights[start:stop] * np.abs(y[start:stop] - level)).sum())


def _segment(y: Floats, weights: Floats, start: int, stop: int) -> Segment:
    return Segment(start, stop, weighted_median(y[start:stop], weights[start:stop]))
