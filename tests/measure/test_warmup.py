"""The rule that says when a side is warm."""

from __future__ import annotations

import numpy as np

from runner.measure.warmup import is_steady


def test_two_windows_are_needed() -> None:
    """Nine times say nothing about a window of five."""
    assert not is_steady([1e-3] * 9, 5, 0.02)
    assert is_steady([1e-3] * 10, 5, 0.02)


def test_a_fall_is_not_steady_but_a_rise_is() -> None:
    """Only a side that still gets faster is warming up."""
    falling = [1.05e-3] * 5 + [1e-3] * 5
    assert not is_steady(falling, 5, 0.02)
    assert is_steady(falling[::-1], 5, 0.02)


def test_only_the_last_two_windows_count() -> None:
    """A slow start is forgotten."""
    assert is_steady([5e-3] * 20 + [1e-3] * 10, 5, 0.02)


def test_a_fall_within_the_noise_is_steady() -> None:
    """With a scatter of 10 %, a fall of 5 % between two medians of five means nothing."""
    ripple = np.array([0.9, 0.95, 1, 1.05, 1.1])
    assert is_steady([*(1.05e-3 * ripple), *(1e-3 * ripple)], 5, 0.02)


def test_slow_calls_are_judged_over_two() -> None:
    """Above half a second four calls are enough."""
    assert is_steady([1.0] * 4, 5, 0.02)
    assert not is_steady([1.0] * 3, 5, 0.02)
    assert not is_steady([1.2, 1.2, 1.0, 1.0], 5, 0.02)
