"""Statistics against scipy.stats and against values worked out by hand."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from runner.measure import statistics


@pytest.mark.parametrize(("n", "k"), [(6, 0), (8, 3), (10, 8), (16, 29), (30, 137), (60, 648)])
def test_signed_rank_k_has_the_tabled_values(n: int, k: int) -> None:
    """The two-sided 5 % critical values."""
    assert statistics.signed_rank_k(n, 0.95) == k


def test_too_few_values_have_no_interval() -> None:
    """Five values cannot give a 95 % interval: the limits are nan, the centre is known; 6 is the smallest number."""
    assert statistics.smallest_n(0.95) == 6
    interval = statistics.hodges_lehmann([1, 2, 3, 4, 5])
    assert interval.center == 3
    assert math.isnan(interval.lo)
    assert math.isnan(interval.hi)
    assert math.isnan(interval.half_width)


def test_signed_rank_normal_approximation_joins_the_exact_values() -> None:
    """At n = 200 the approximation used above it differs from the exact count by at most 2 of 8000."""
    n = 200
    mean, sd = n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    approximate = math.floor(mean - 1.959964 * sd - 0.5)
    assert abs(statistics.signed_rank_k(n, 0.95) - approximate) <= 2
    assert statistics.signed_rank_k(n + 1, 0.95) > statistics.signed_rank_k(n, 0.95)


@pytest.mark.parametrize("n", [6, 10, 25, 50])
def test_the_interval_is_the_one_that_scipys_exact_test_inverts_to(n: int) -> None:
    """Shifts inside the interval are not rejected by the exact Wilcoxon test at 5 %, shifts outside are."""
    d = np.random.default_rng(n).normal(0.1, 1, n)
    interval = statistics.hodges_lehmann(d)
    tiny = 1e-9
    for shift, inside in (
        (interval.lo - tiny, False),
        (interval.lo + tiny, True),
        (interval.hi - tiny, True),
        (interval.hi + tiny, False),
    ):
        p = stats.wilcoxon(d - shift, method="exact").pvalue
        assert bool(p > 0.05) is inside, shift


@pytest.mark.parametrize("n", [1, 2, 7, 12])
def test_hodges_lehmann_is_the_median_of_all_pair_means(n: int) -> None:
    """Pairs of a value with itself included."""
    d = np.random.default_rng(n).normal(size=n)
    means = [(x + y) / 2 for x, y in itertools.combinations_with_replacement(d, 2)]
    assert statistics.hodges_lehmann(d).center == pytest.approx(np.median(means), abs=1e-15)


def test_the_signed_rank_interval_covers_as_often_as_it_says() -> None:
    """94 to 97 % of 2000 intervals of 20 normal values hold the truth."""
    rng = np.random.default_rng(1)
    intervals = [statistics.hodges_lehmann(rng.normal(0, 1, 20)) for _ in range(2000)]
    assert 0.94 <= np.mean([i.lo <= 0 <= i.hi for i in intervals]) <= 0.97


def test_median_interval_uses_binomial_order_statistics() -> None:
    """For 10 values the 95 % interval runs from the 2nd to the 9th; for 5 there is none."""
    interval = statistics.median_interval(range(1, 11))
    assert (interval.center, interval.lo, interval.hi) == (5.5, 2, 9)
    assert math.isnan(statistics.median_interval(range(5)).lo)


def test_quartiles_are_numpys() -> None:
    """Linear interpolation between order statistics."""
    assert statistics.quartiles([1, 2, 3, 4, 5]) == (2, 3, 4)


def test_robust_sd_of_normal_residuals_is_their_sd() -> None:
    """The factor makes the median absolute residual a standard deviation."""
    assert statistics.robust_sd(np.random.default_rng(0).normal(0, 3, 20_000)) == pytest.approx(3, rel=0.03)


@pytest.mark.parametrize(("h", "effect"), [(0.02, 0.029), (0.01, 0.0144), (0.005, 0.0072)])
def test_detectable_effect(h: float, effect: float) -> None:
    """+-2 % sees 2.9 %, +-1 % 1.44 %, +-0.5 % 0.72 %."""
    se = statistics.Interval(0, -h, h, 0.95).se
    assert statistics.detectable(se) == pytest.approx(effect, abs=0.0001)


@pytest.mark.parametrize(
    ("lo", "hi", "word"),
    [
        (0.011, 0.05, "faster"),
        (0.009, 0.05, "inconclusive"),
        (-0.05, -0.011, "slower"),
        (-0.005, 0.005, "same"),
        (-0.02, 0.02, "inconclusive"),
        (math.nan, math.nan, "inconclusive"),
    ],
)
def test_verdict(lo: float, hi: float, word: str) -> None:
    """An interval that is merely not significant is never called the same."""
    assert statistics.verdict(statistics.Interval(0, lo, hi, 0.95), 0.01) == word


@pytest.mark.parametrize(("m", "n"), [(5, 5), (1, 9), (30, 30), (7, 20)])
def test_mann_whitney_equals_scipys_exact_test(m: int, n: int) -> None:
    """Without ties, for samples of equal and unequal size."""
    rng = np.random.default_rng(m)
    x, y = rng.normal(size=m), rng.normal(0.5, 1, size=n)
    expected = stats.mannwhitneyu(x, y, method="exact").pvalue
    assert statistics.mann_whitney_p(x, y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("m", "n", "levels"), [(6, 7, 4), (60, 80, 1000), (10, 10, 1)])
def test_mann_whitney_with_ties_equals_scipys_asymptotic_test(m: int, n: int, levels: int) -> None:
    """With ties, with many values, and where all values are the same."""
    rng = np.random.default_rng(m)
    x, y = rng.integers(0, levels, m), rng.integers(0, levels, n)
    expected = 1.0 if levels == 1 else stats.mannwhitneyu(x, y, method="asymptotic").pvalue
    assert statistics.mann_whitney_p(x, y) == pytest.approx(expected, rel=1e-9)


def test_processes_are_combined_with_students_interval() -> None:
    """The interval of scipy's one-sample t-test over the process estimates."""
    estimates = [0.10, 0.12, 0.09]
    combined = statistics.combine_processes(estimates, [0.003, 0.004, 0.005])
    expected = stats.ttest_1samp(estimates, 0).confidence_interval(0.95)
    assert (combined.interval.lo, combined.interval.hi) == pytest.approx((expected.low, expected.high))
    assert combined.within_sd == pytest.approx(math.sqrt((9 + 16 + 25) / 3) * 1e-3)
    assert combined.between_sd == pytest.approx(math.sqrt(np.var(estimates, ddof=1) - combined.within_sd**2))


def test_processes_that_agree_better_than_expected_have_no_spread_of_their_own() -> None:
    """The variance between processes is never negative."""
    assert statistics.combine_processes([0.1, 0.1001], [0.01, 0.01]).between_sd == 0


def test_one_process_has_no_interval_over_processes() -> None:
    """K = 1: the estimate alone."""
    combined = statistics.combine_processes([0.1], [0.01])
    assert combined.interval.center == 0.1
    assert math.isnan(combined.interval.lo)
    assert math.isnan(combined.between_sd)


def test_geometric_mean_and_its_measurement_interval() -> None:
    """2 and 8 have the mean 4; standard errors of 3 % and 4 % give 1.96 * 5 % / 2."""
    mean = statistics.geometric_mean([2, 8], [0.03, 0.04])
    h = 1.959964 * 0.05 / 2
    assert mean.center == pytest.approx(4)
    assert mean.measurement == pytest.approx((4 * math.exp(-h), 4 * math.exp(h)), rel=1e-6)
    assert mean.n == 2


def test_the_suite_interval_takes_models_as_a_sample() -> None:
    """Close to Student's interval for 60 models, reproducible, and empty for one model."""
    logs = np.random.default_rng(0).normal(0.3, 0.2, 60)
    first, second = (statistics.geometric_mean(np.exp(logs).tolist(), [0.01] * 60) for _ in range(2))
    expected = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert np.log(first.suite) == pytest.approx((expected.low, expected.high), abs=0.006)
    assert first == second
    assert all(math.isnan(limit) for limit in statistics.geometric_mean([2.0], [0.01]).suite)


def test_the_package_imports_neither_torch_nor_the_runner() -> None:
    """Settings, statistics, engine and readers start without torch, scipy.stats, pandas, Hydra or other packages."""
    program = (
        "import sys, runner.measure.engine, runner.measure.comparisons, runner.measure.memory, runner.measure.tuning\n"
        "heavy = {'torch', 'scipy.stats', 'pandas', 'hydra', 'omegaconf'} & set(sys.modules)\n"
        "other = {m for m in sys.modules if m.startswith('runner.') and not m.startswith('runner.measure')}\n"
        "assert not heavy | other, heavy | other"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_suite_interval_of_very_many_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where resampling would take gigabytes, the normal interval of the mean stands in for it, and is the same."""
    ratios = np.exp(np.random.default_rng(0).normal(0.2, 0.3, 500)).tolist()
    resampled = statistics.geometric_mean(ratios, [0.01] * 500).suite
    monkeypatch.setattr(statistics, "BOOTSTRAP_MAX", 100)
    assert statistics.geometric_mean(ratios, [0.01] * 500).suite == pytest.approx(resampled, rel=2e-3)
