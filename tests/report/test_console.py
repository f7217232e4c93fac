"""Values as text for a terminal."""

from __future__ import annotations

import math

import pytest

from runner.report.console import failure_text, number, title_of, value_text
from runner.results.columns import Column


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.23456, "1.235"),
        (0.0, "0"),
        (1234567.0, "1234567"),
        (99999.6, "100000"),
        (9.9999, "10.00"),
        (0.000123456, "0.0001235"),
        (1e-9, "1.000e-09"),
        (1e9, "1.000e+09"),
        (math.nan, "nan"),
        (-2.5, "-2.500"),
    ],
)
def test_number(value: float, text: str) -> None:
    """Four significant digits, without an exponent where that is readable."""
    assert number(value) == text


def test_intervals_and_units() -> None:
    """A ratio has its x and its interval, where both limits are there; other values stand alone."""
    ratio = Column("speedup", float, "x", "ratio")
    assert value_text({"speedup": 1.5, "speedup_lo": 1.4, "speedup_hi": 1.6}, ratio) == "1.500x [1.400, 1.600]"
    assert value_text({"speedup": 1.5, "speedup_lo": 1.4, "speedup_hi": math.nan}, ratio) == "1.500x"
    assert value_text({"speedup": None}, ratio) == value_text({}, ratio) == ""
    assert value_text({"steady": False}, Column("steady", bool, "", "")) == "no"
    assert value_text({"n": 12345678}, Column("n", int, "", "")) == "12345678"


@pytest.mark.parametrize(
    ("name", "unit", "title"),
    [("abs_latency", "ms", "abs_latency (ms)"), ("compile_s", "s", "compile_s"), ("n", "", "n")],
)
def test_titles(name: str, unit: str, title: str) -> None:
    """The unit is given once."""
    assert title_of(Column(name, float, unit, "")) == title


def test_failures() -> None:
    """Status, phase, type and message, those that there are."""
    row = {"status": "timeout", "phase": "measure", "error_type": "measure_s", "error": "ran\nlong"}
    assert failure_text(row) == r"timeout in measure: measure_s: ran\nlong"
    assert failure_text({"status": "crashed", "phase": None, "error": ""}) == "crashed"
