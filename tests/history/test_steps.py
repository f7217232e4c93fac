"""Steps are found where they are, and rarely where there are none."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from runner.history.steps import MIN_POINTS, PRICE, Segment, best_levels, segments, segments_of, weighted_median

SD = 0.02


def noisy(rng: np.random.Generator, *levels: tuple[float, int]) -> list[float]:
    """A series of these levels, each so many points long."""
    return [float(x) for level, n in levels for x in rng.normal(level, SD, n)]


def found(values: list[float], error: float = SD) -> list[tuple[int, int]]:
    """Bounds of the segments."""
    return [(s.start, s.stop) for s in segments(values, [error] * len(values))]


@pytest.mark.parametrize("n", [12, 40, 200])
def test_noise_alone_seldom_makes_a_step(n: int) -> None:
    """At most 5 % of series without a step are given one."""
    rng = np.random.default_rng(n)
    series = [(noisy(rng, (0.5, n)), [SD] * n) for _ in range(300)]
    assert np.mean([len(levels) > 1 for levels in segments_of(series)]) <= 0.05


def test_a_step_is_found_where_it_is() -> None:
    """A step of three standard deviations, in the middle of 60 results, is found within two of them."""
    rng = np.random.default_rng(0)
    places = [found(noisy(rng, (0.5, 30), (0.5 - 3 * SD, 30))) for _ in range(50)]
    exact = [len(bounds) == 2 and abs(bounds[0][1] - 30) <= 2 for bounds in places]
    assert np.mean(exact) >= 0.9


def test_several_steps() -> None:
    """Down, up again and down a little later."""
    values = noisy(np.random.default_rng(1), (0.5, 25), (0.3, 15), (0.5, 30), (0.4, 20))
    assert found(values) == [(0, 25), (25, 40), (40, 70), (70, 90)]


def test_outliers_are_no_steps() -> None:
    """A single result far away moves no level, at the end of a series no more than within."""
    values = noisy(np.random.default_rng(2), (0.5, 40))
    for place in (0, 20, 39):
        odd = [*values[:place], -1.0, *values[place + 1 :]]
        assert found(odd) == [(0, 40)]
    assert found([*values, -1.0, -1.0])[-1] == (40, 42)


def test_errors_weigh() -> None:
    """The same curve is a step where its errors are small, and none where they are large."""
    values = [0.5, 0.501] * 10 + [0.45, 0.451] * 10
    assert len(found(values, 0.005)) == 2
    assert len(found(values, 0.2)) == 1


def test_scatter_beyond_the_errors_counts() -> None:
    """A series that jumps about more than its errors say is not cut to pieces."""
    values = noisy(np.random.default_rng(3), (0.5, 100))
    assert found(values, error=SD / 10) == [(0, 100)]


def test_short_series_have_one_level() -> None:
    """Up to ten results are not searched; the level is their weighted median."""
    values = [1.0] * 5 + [2.0] * (MIN_POINTS - 6)
    assert segments(values, [0.01] * len(values)) == [Segment(0, MIN_POINTS - 1, 1.5)]


def test_the_optimum_is_exact() -> None:
    """The curve costs as little as the best of all that exhaustive search finds."""
    rng = np.random.default_rng(4)
    for _ in range(20):
        y, weights, price = rng.normal(0, 1, 7), rng.uniform(0.5, 2, 7), 1.5
        (levels,) = best_levels([(y, weights)], [price])
        assert cost(y, weights, levels, price) == pytest.approx(cheapest(y, weights, price))


def cost(y: np.ndarray, weights: np.ndarray, levels: np.ndarray, price: float) -> float:
    """Weighted absolute deviations and the price of the steps."""
    return float((weights * np.abs(y - levels)).sum() + price * np.count_nonzero(np.diff(levels)))


def cheapest(y: np.ndarray, weights: np.ndarray, price: float) -> float:
    """The same for the best of all ways to cut the series."""
    best = math.inf
    for cuts in itertools.product((False, True), repeat=len(y) - 1):
        bounds = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(y)]
        levels = np.concatenate(
            [np.full(b - a, weighted_median(y[a:b], weights[a:b])) for a, b in itertools.pairwise(bounds)]
        )
        best = min(best, cost(y, weights, levels, 0.0) + price * sum(cuts))
    return best


def test_series_of_different_lengths_do_not_disturb_each_other() -> None:
    """Searched together or alone, a series has the same levels."""
    rng = np.random.default_rng(5)
    series = [(noisy(rng, (0.5, n), (0.3, 20)), [SD] * (n + 20)) for n in (3, 15, 60, 150)]
    assert segments_of(series) == [segments(*one) for one in series]
    assert PRICE > 0
