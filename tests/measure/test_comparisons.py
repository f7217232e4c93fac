"""Tests between two files, against hand-worked vectors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from runner.measure.comparisons import (
    Between,
    Delta,
    Estimate,
    benjamini_hochberg,
    between_processes,
    change,
    delta_test,
    equivalent,
    holm,
)


def test_delta_of_single_processes() -> None:
    """Half-widths of 2 % and a between-process sd of 1 % give a standard error of 2.02 %."""
    se = 0.02 / 1.96
    delta = delta_test(Estimate(0.05, se), Estimate(0.10, se))
    assert delta.delta == pytest.approx(-0.05)
    assert delta.se == pytest.approx(0.0202, abs=0.0001)
    assert delta.p == pytest.approx(2 * stats.norm.sf(0.05 / delta.se))


def test_delta_of_several_processes() -> None:
    """Both variances shrink with the number of processes of their own file."""
    delta = delta_test(Estimate(0.0, 0.01, 3), Estimate(0.0, 0.02, 1), Between(0.03))
    assert delta.se == pytest.approx(math.sqrt(0.01**2 / 3 + 0.02**2 + 0.03**2 * (1 / 3 + 1)))
    assert delta.p == 1


def test_between_sd_is_never_taken_below_the_floor() -> None:
    """Zero spread observed by chance does not make a test sharper than 1 %."""
    assert delta_test(Estimate(0, 0), Estimate(0, 0), Between(0)).se == pytest.approx(0.01 * math.sqrt(2))
    assert between_processes([[], []]) == (Between(0.01), [Between(0.01)] * 2)
    assert between_processes([[(0.001, 3)]]) == (Between(0.01, 2), [Between(0.01, 2)])


def test_models_share_their_spread() -> None:
    """Pooled by degrees of freedom, over both files; models without such rows get it too."""
    shared, each = between_processes([[(0.02, 2), (0.04, 4)], [], [(0.03, 3)]])
    assert shared.sd == pytest.approx(math.sqrt((0.0004 + 3 * 0.0016 + 2 * 0.0009) / 6))
    assert (shared.freedom, each) == (6, [shared] * 3)


def test_a_restless_model_keeps_its_spread_to_itself() -> None:
    """A model that varies by 20 % from process to process does not widen the intervals of those that vary by 1 %."""
    shared, each = between_processes([[(0.012, 3), (0.011, 3)], [(0.01, 3), (0.009, 3)], [(0.2, 3), (0.2, 3)]])
    assert (shared.sd, shared.freedom) == (pytest.approx(0.0105, abs=0.0002), 8)
    assert each == [shared, shared, Between(pytest.approx(0.2), 4)]


def test_an_estimated_spread_is_judged_by_students_distribution() -> None:
    """Twelve degrees of freedom: p-value, interval and equivalence are wider than with a spread that is known."""
    known, found = (delta_test(Estimate(0.03, 0), Estimate(0, 0), Between(0.01, f)) for f in (math.inf, 12))
    assert found.p == pytest.approx(2 * stats.t.sf(0.03 / found.se, 12))
    assert found.half_width(0.95) == pytest.approx(stats.t.ppf(0.975, 12) * found.se)
    assert known.p < found.p


def test_holm() -> None:
    """A vector worked out by hand: sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, running maximum."""
    assert holm([0.04, 0.01, 0.03, 0.02]).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1, 1]


def test_benjamini_hochberg_equals_scipys() -> None:
    """Against scipy's implementation, in the order given."""
    p = np.random.default_rng(0).uniform(size=20) ** 3
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


def test_equivalence_needs_the_whole_90_percent_interval_inside() -> None:
    """Change of 1 % +- 1.645 se within 3 %: holds for se 1 %, not for se 1.5 %."""
    assert equivalent(Delta(0.01, 0.01, 0.3))
    assert not equivalent(Delta(0.01, 0.015, 0.5))
    assert not equivalent(Delta(-0.031, 0.0001, 0.0))


@pytest.mark.parametrize(
    ("delta", "p", "word"),
    [
        (Delta(-0.05, 0.01, 0), 0.001, "regressed"),
        (Delta(0.05, 0.01, 0), 0.001, "improved"),
        (Delta(0.02, 0.001, 0), 0.001, "unchanged"),  # significant, but small
        (Delta(0.05, 0.04, 0), 0.2, "inconclusive"),
        (Delta(0.0, 0.01, 0), 1.0, "unchanged"),
    ],
)
def test_change(delta: Delta, p: float, word: str) -> None:
    """A flag needs significance and size; unchanged needs proof."""
    assert change(delta, p) == word
