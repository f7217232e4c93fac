"""Columns with intervals of their own in the place of a speedup."""

from __future__ import annotations

from typing import Any

import pytest

from runner.compare import render
from runner.compare.command import main
from runner.compare.intervals import metric_of
from runner.compare.join import Pair
from runner.compare.judge import Comparison, Settings, judge
from runner.compare.sides import Entry


def row(name: str, value: float, half: float) -> Entry:
    """An ok row with this column and its interval."""
    return Entry({"name": "a", "status": "ok", name: value, f"{name}_lo": value - half, f"{name}_hi": value + half})


def compared(name: str, old: float, new: float, half: float = 0.05) -> Comparison:
    """The comparison of two such rows by it."""
    pair = Pair(row(name, old, half), row(name, new, half), {})
    return judge([pair], Settings(), metric_of(name, [pair.either]), name)


def test_a_longer_time_is_a_regression() -> None:
    """Of times less is better, the numbers shown are the times, and too wide an interval flags nothing."""
    slower = compared("compile_cold_s", 16.0, 50.0)
    (finding,) = slower.findings
    assert (finding.verdict, slower.exit_code) == ("regressed", 3)
    assert (render.quantity(finding.old, slower.metric), render.quantity(finding.new, slower.metric)) == (
        *("16.00", "50.00"),
    )
    assert compared("compile_cold_s", 50.0, 16.0).findings[0].verdict == "improved"
    assert compared("compile_cold_s", 16.0, 18.0, half=5.0).findings[0].verdict == "inconclusive"
    assert compared("speedup_vs_onnxruntime", 2.0, 1.0).findings[0].verdict == "regressed"


def test_what_has_no_logarithm_is_not_compared() -> None:
    """An overhead may be below nothing: the row is inconclusive, which is exit code 1."""
    assert compared("overhead_us", -1.0, 2.0).exit_code == 1


def test_an_unknown_metric_names_the_columns_there_are(maker: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A column without an interval is a usage error that says which have one."""
    run = str(maker.run({"a": {}}))
    assert main([run, run, "--metric", "compile_s"]) == 2
    assert "or a column with an interval; here that is speedup\n" in capsys.readouterr().err
