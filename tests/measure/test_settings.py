"""Bounds of the engine's parameters."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from runner.measure.settings import Measure


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rel_ci", 0.0),
        ("ci_level", 1.0),
        ("min_pairs", 0),
        ("max_pairs", 5),
        ("max_pairs", 5000),
        ("look_growth", 1.0),
        ("futility", 0.0),
        ("futility_from", 0),
        ("max_time_s", 0.0),
        ("retry_unconverged", -1),
        ("warmup_min_pairs", -1),
        ("warmup_window", 1),
        ("warmup_tol", 0.0),
        ("warmup_max_pairs", -1),
        ("warmup_max_s", -1.0),
        ("block", 0),
        ("threads", 0),
        ("affinity", "0;1"),
        ("processes", 0),
        ("practical", -0.1),
    ],
)
def test_a_value_out_of_bounds_is_refused(field: str, value: Any) -> None:
    """The message names the field and the value."""
    with pytest.raises(ValueError, match=rf"measure\.{field} is {value!r}"):
        Measure(**{field: value})


def test_the_defaults_are_within_bounds() -> None:
    """And so are the empty values of those that may be empty."""
    assert dataclasses.replace(Measure(), block=None, threads=None, affinity="0-3,8").max_pairs == 60
