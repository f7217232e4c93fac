"""A comparison as upstream's functional_autograd_benchmark prints it."""

from __future__ import annotations

from typing import Any

import pytest

from runner.compare.join import Pair
from runner.compare.judge import Comparison, Settings, judge, speedup_of
from runner.compare.latency import mean_speed_of
from runner.compare.likeness import Differences
from runner.compare.sides import Entry
from runner.compare.upstream import render_autograd
from runner.errors import UsageError

ALIKE = Differences((), (), (), ())
HEAD = "| model | task | speedup | mean (before) | var (before) | mean (after) | var (after) | change {} [95 %] | verdict |"


def entry(mean: float | None, **values: Any) -> Entry:
    """A row with this mean, ok if it has one."""
    status = "run_error" if mean is None else "ok"
    own = {"name": "detr", "task": "vjp", "api": "func", "status": status, "mean": mean, "var": 1e-6}
    return Entry({**own, "speedup": 0.8, "se_within": 0.001, **values})


def lines(*pairs: tuple[Entry | None, Entry | None], metric: str = "speedup") -> list[str]:
    """Lines of the table, without its rule."""
    estimator = speedup_of if metric == "speedup" else mean_speed_of
    comparison: Comparison = judge([Pair(*pair, {}) for pair in pairs], Settings(), estimator, metric)
    head, rule, *found = render_autograd(comparison, ALIKE).splitlines()
    assert (head, rule) == (HEAD.format("of mean" if metric == "mean" else "in pairs"), "|" + " -- |" * 9)
    return found


def test_before_and_after() -> None:
    """Means, their ratio, the interval of the metric and the verdict; below the table what that comes to."""
    functional = {"api": "functional", "speedup": None, "forward_ratio": 2.0}
    found = lines(
        (entry(0.5), entry(0.25, speedup=1.6)),
        (entry(0.5, **functional), entry(0.5, **{**functional, "forward_ratio": 2.001})),
    )
    assert found[0].startswith("| detr | functorch vjp | 2.000 | 0.5000 | 1.000e-06 | 0.2500 | 1.000e-06 | +100.0 % [+9")
    assert found[0].endswith("| improved |")
    assert found[1].startswith("| detr | vjp | 1.000 | 0.5000 |")
    assert found[1].endswith("| unchanged: 1 / forward\\_ratio |")
    assert found[2:4] == ["", "- speedup: 1 improved, 1 unchanged"]


def test_one_process_says_nothing_of_a_mean() -> None:
    """The means' change has no interval then, which is no verdict, and what has one is said."""
    found = lines((entry(0.5), entry(0.25)), metric="mean")
    assert found[0].endswith("| +100.0 % | inconclusive: no interval |")
    assert "measure.processes=3" in found[-2]


def test_what_is_missing_is_empty() -> None:
    """A failure or an absent row has no numbers; a task that has none on either side is not in the table."""
    found = lines((entry(0.5), entry(None, error="boom")), (None, entry(0.5, task="jvp")), (entry(None), entry(None, task="hvp")))
    assert found[0] == "| detr | functorch vjp |  | 0.5000 | 1.000e-06 |  |  |  | status changed: ok -> run\\_error: boom |"
    assert found[1] == "| detr | functorch jvp |  |  |  | 0.5000 | 1.000e-06 |  | new |"
    assert found[2] == ""


def test_two_of_one_name() -> None:
    """Two sizes in one folder have the same names in this table, which is refused."""
    with pytest.raises(UsageError, match="detr functorch vjp was measured more than once"):
        lines((entry(0.5), entry(0.5)), (entry(0.1), entry(0.1)))
