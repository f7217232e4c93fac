"""Verdicts on pairs of rows, what they come to, and how often they are wrong."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.accuracy import Accuracy
from experiments.compile_time import CompileTime
from experiments.forward_backward import ForwardBackward
from experiments.graph_breaks import GraphBreaks
from runner.compare.join import Pair, join
from runner.compare.judge import Comparison, Settings, Verdict, judge, means, speedup_of
from runner.compare.sides import Entry, Side
from runner.measure.comparisons import Delta
from runner.rerun import verdict
from runner.results.columns import header
from runner.results.reader import Run
from runner.results.run import RunRecord

MODELS = 100
H, SIGMA = 0.02, 0.01  # half-width of a row's interval, sd between processes
SE = H / 1.96


def compared(base: Any, new: Any, **settings: Any) -> Comparison:
    """The comparison of two sides."""
    return judge(join(base, new), Settings(**settings), speedup_of)


def verdicts(comparison: Comparison) -> dict[str, str]:
    """Model -> verdict."""
    return {finding.pair.either.name: finding.verdict.value for finding in comparison.findings}


def simulated(rng: np.random.Generator, change: np.ndarray, processes: int) -> list[Pair]:
    """Pairs of rows whose true log speedup changed by `change`, measured in `processes` processes a side."""
    sd = math.sqrt((SE**2 + SIGMA**2) / processes)
    logs = rng.normal(0, sd, (2, len(change)))
    logs[1] += change
    rows = [
        [
            {"name": str(i), "status": "ok", "speedup": math.exp(x), "se_within": SE, "n_processes": processes}
            for i, x in enumerate(side)
        ]
        for side in logs
    ]
    return [Pair(Entry(old), Entry(new), {}) for old, new in zip(*rows, strict=True)]


def regressed(pairs: list[Pair], adjust: str = "holm") -> set[int]:
    """Which of them are flagged, in either direction."""
    found = judge(pairs, Settings(adjust=adjust), speedup_of).findings
    return {i for i, f in enumerate(found) if f.verdict in (Verdict.REGRESSED, Verdict.IMPROVED)}


def two_stages(rng: np.random.Generator, change: np.ndarray) -> tuple[set[int], int]:
    """What is flagged after the candidates were measured again, and how many those were."""
    first = judge(simulated(rng, change, 1), Settings(), speedup_of)
    again = [i for i, finding in enumerate(first.findings) if finding.candidate]
    flagged = regressed(simulated(rng, change[again], 3)) if again else set()
    return {again[i] for i in flagged}, len(again)


def test_holm_rarely_flags_a_run_without_a_change() -> None:
    """Of runs of 100 models in which nothing changed, at most 6 % have any flag."""
    rng = np.random.default_rng(1)
    alarms = [bool(regressed(simulated(rng, np.zeros(MODELS), 1))) for _ in range(300)]
    assert np.mean(alarms) <= 0.06


def test_two_stages_find_what_one_misses() -> None:
    """Of 5 regressions by 7 % among 100 models, two stages find nine in ten, Holm alone half; neither invents any."""
    rng = np.random.default_rng(2)
    change = np.zeros(MODELS)
    change[:5] = math.log(0.93)
    found, alarms, again, alone = [], [], [], []
    for _ in range(150):
        flagged, measured_again = two_stages(rng, change)
        found.append(len(flagged & set(range(5))) / 5)
        alarms.append(bool(flagged - set(range(5))))
        again.append(measured_again)
        alone.append(len(regressed(simulated(rng, change, 1)) & set(range(5))) / 5)
    assert np.mean(found) >= 0.90
    assert np.mean(alarms) <= 0.06
    assert 6 <= np.mean(again) <= 12
    assert 0.3 <= np.mean(alone) <= 0.6


def without_intervals(changes: np.ndarray) -> list[Pair]:
    """Pairs of which one row has no interval."""
    pairs = simulated(np.random.default_rng(3), changes, 1)
    for pair in pairs:
        pair.base.row["se_within"] = None  # type: ignore[union-attr]
    return pairs


def test_without_an_interval_nothing_is_flagged() -> None:
    """Noise is no regression: what differs may be measured again, and the exit code is 0."""
    comparison = judge(without_intervals(np.full(MODELS, math.log(0.8))), Settings(), speedup_of)
    assert comparison.without_interval == comparison.count(Verdict.INCONCLUSIVE) == len(comparison.candidates) == MODELS
    assert comparison.exit_code == 0


def test_the_margin_alone_flags_every_run() -> None:
    """On request the margin decides where there is no interval: noise alone is flagged in every run."""
    comparison = judge(without_intervals(np.zeros(MODELS)), Settings(margin_alone=True), speedup_of)
    assert comparison.without_interval == MODELS
    assert comparison.count(Verdict.REGRESSED) > 0
    assert comparison.count(Verdict.UNCHANGED) == 0
    assert comparison.exit_code == 3


def by_ratio(**values: Any) -> Entry:
    """A row that has no speedup by design, and a ratio to a forward pass."""
    return Entry({"name": "a", "status": "ok", "speedup": None, "forward_ratio": 2.0, "se_within": 0.001, **values})


def test_a_ratio_stands_in_for_a_speedup() -> None:
    """Where neither side has a speedup, the ratio's change is judged, and is in no mean of speedups."""
    comparison = judge([Pair(by_ratio(), by_ratio(forward_ratio=3.0), {})], Settings(), speedup_of)
    (finding,) = comparison.findings
    assert (finding.verdict, finding.note, finding.change) == ("regressed", "1 / forward_ratio", pytest.approx(-1 / 3))
    assert judge([Pair(by_ratio(), by_ratio(), {})], Settings(), speedup_of).exit_code == 0
    average = means(comparison)
    assert average is not None
    assert average.change is None
    assert average.left_out == {"by forward_ratio": 1}


def test_a_ratio_is_not_compared_with_a_speedup() -> None:
    """Two different quantities are no comparison, which is exit code 1."""
    comparison = judge([Pair(by_ratio(), by_ratio(speedup=0.5), {})], Settings(), speedup_of)
    assert comparison.findings[0].note == "no speedup to compare (speedup None -> 0.5)"
    assert comparison.exit_code == 1


def test_every_verdict(maker: Any, failed: dict[str, Any]) -> None:
    """One model of each kind gets the verdict of its kind."""
    exact = {"se_within": 0.001, "n_processes": 3, "between_sd": 0.01}
    base = maker.side(
        {
            "slower": exact,
            "faster": exact,
            "same": exact,
            "noisy": {"se_within": 0.1},
            "breaks": {},
            "gone": {},
            "lost": {},
        }
    )
    new = maker.side(
        {
            "slower": {**exact, "speedup": 1.3}, "faster": {**exact, "speedup": 1.7}, "same": exact,
            "noisy": {"se_within": 0.1}, "breaks": failed, "lost": None, "fresh": {},
        }
    )
    comparison = compared(base, new, margin=0.05)
    assert verdicts(comparison) == {
        "slower": "regressed", "faster": "improved", "same": "unchanged", "noisy": "inconclusive",
        "breaks": "status changed", "gone": "missing", "lost": "missing", "fresh": "new",
    }
    assert comparison.exit_code == 3
    quiet = [f for f in comparison.findings if f.verdict in (Verdict.UNCHANGED, Verdict.INCONCLUSIVE)]
    assert all(finding.mde and finding.mde > 0 for finding in quiet)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ({}, {}, 0),
        ({}, "failed", 1),
        ("failed", "failed", 1),
        ("failed", {}, 0),
        ({}, None, 1),
        ({}, {"status": "skipped"}, 0),
        ({}, {"speedup": math.nan}, 1),
        ({"speedup": math.inf}, {}, 1),
    ],
)
def test_exit_code_without_regression(maker: Any, failed: dict[str, Any], old: Any, new: Any, code: int) -> None:
    """1 where the new side has nothing to compare although it was asked for, 0 for what is skipped by policy."""
    sides = [maker.side({"a": failed if v == "failed" else v, "b": {}}) for v in (old, new)]
    assert compared(*sides).exit_code == code


def test_a_regression_wins_over_a_failure(maker: Any, failed: dict[str, Any]) -> None:
    """Exit code 3 although another cell failed."""
    base = maker.side({"a": {}, "b": {}})
    assert compared(base, maker.side({"a": {"speedup": 1.0}, "b": failed})).exit_code == 3


def test_several_processes_are_not_counted_twice() -> None:
    """With K processes the error is that of MEASUREMENT's formula, from the error within one process."""
    row = {"name": "a", "status": "ok", "speedup": 1.5, "se_within": 0.01, "n_processes": 3, "between_sd": 0.02}
    found = judge([Pair(Entry(row), Entry(row), {})], Settings(), speedup_of).findings[0]
    assert isinstance(found.delta, Delta)
    assert found.delta.se == pytest.approx(math.sqrt(2 * (0.01**2 + 0.02**2) / 3))


def test_means_are_over_what_is_good_on_both_sides(maker: Any, failed: dict[str, Any]) -> None:
    """Wrong, failed and unconverged rows are in no mean, and are counted by their reason."""
    wrong = {"status": "wrong_output", "speedup": 9.0, "se_within": 0.01}
    base = maker.side({"a": {}, "b": {}, "c": {}, "d": {}})
    new = maker.side({"a": {"speedup": 1.2}, "b": wrong, "c": failed, "d": {"converged": False, "speedup": 7.0}})
    average = means(compared(base, new))
    assert average is not None
    assert average.change is not None
    assert (average.old, average.new, average.change.n) == (pytest.approx(1.5), pytest.approx(1.2), 1)
    assert average.change.center == pytest.approx(0.8)
    assert {why: n for why, n in average.left_out.items() if n} == {"wrong": 1, "failed": 1, "unconverged": 1}


def test_benjamini_and_hochberg_find_more() -> None:
    """On request, more is flagged: 7 % in many models at once."""
    change = np.full(MODELS, math.log(0.93))
    pairs = simulated(np.random.default_rng(4), change, 1)
    assert len(regressed(pairs, "bh")) > len(regressed(pairs, "holm"))


def own(experiment: Any, **values: Any) -> Entry:
    """An ok row of an experiment that has no speedup."""
    name = experiment.__name__.lower()
    run = Run(Path("run"), RunRecord(name, {}, header(experiment.columns)), (), ())
    return Entry({"name": "a", "cell_id": "1", "status": "ok", "experiment": name, **values}, run=run)


def of(one: Entry, other: Entry) -> tuple[str, str, int, int]:
    """Verdict, note, exit code of `compare` and exit code of `rerun` for a pair of rows."""
    comparison = judge([Pair(one, other, {})], Settings(), speedup_of)
    (finding,) = comparison.findings
    return finding.verdict.value, finding.note, comparison.exit_code, verdict(comparison)


@pytest.mark.parametrize(
    ("experiment", "then", "now"),
    [
        (CompileTime, {"compile_cold_s": 16.0}, {"compile_cold_s": 50.0}),
        (GraphBreaks, {"breaks": 0}, {"breaks": 3}),
        (ForwardBackward, {"avg_fwd": 1.0, "accuracy": "pass"}, {"avg_fwd": 2.0, "accuracy": "pass"}),
    ],
)
def test_numbers_that_are_not_compared(experiment: Any, then: Any, now: Any, capsys: Any) -> None:
    """Where an experiment has no speedup, other numbers than before are no positive statement; the same ones are."""
    before, after = (own(experiment, **values) for values in (then, now))
    said = f"experiment {experiment.__name__.lower()} has no speedup: its numbers are not compared"
    assert of(before, after) == ("inconclusive", said, 1, 1)
    assert "rerun: same status; its numbers are not compared" in capsys.readouterr().out
    assert of(before, before) == ("unchanged", "same outcome, same numbers", 0, 0)
    assert "rerun: reproduced within the interval" in capsys.readouterr().out


def test_a_check_is_judged_by_its_verdict() -> None:
    """A check times nothing: other distances with the same verdict are the same outcome, in dynamobench's file too."""
    before, after = (own(Accuracy, accuracy="pass", rmse_backend=value) for value in (1e-6, 2e-6))
    assert of(before, after)[::2] == ("unchanged", 0)
    assert of(before, own(Accuracy, accuracy="fail_accuracy"))[0] == "status changed"
    lines = [{"name": "a", "status": "ok", "accuracy": "pass", "graph_breaks": n} for n in ("0", "1")]
    assert of(*map(Entry, lines))[::2] == ("unchanged", 0)


@pytest.mark.parametrize(
    ("then", "now", "found", "code"),
    [(64, 32, "regressed", 3), (64, 128, "improved", 0), (64, 64, "unchanged", 0), (100, 99, "unchanged", 0)],
)
def test_largest_batch_sizes(then: int, now: int, found: str, code: int) -> None:
    """A batch size that was looked for joins nothing and is what is compared: smaller is a regression."""
    sides = [
        Side(Path("x"), (Entry({"name": "a", "status": "ok", "batch_size": n, "largest_batch_size": n}),))
        for n in (then, now)
    ]
    (finding,) = (comparison := compared(*sides)).findings
    assert (finding.verdict, finding.note) == (found, f"largest_batch_size {then} -> {now}")
    assert comparison.exit_code == code
