"""Values as text of a CSV file, and back."""

from __future__ import annotations

import enum
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.results.columns import Column, Status
from runner.results.text import (
    MAX_TEXT,
    RowError,
    format_line,
    format_value,
    parse_fields,
    printable,
    split_line,
)

S, I, F, B = (Column(t.__name__, t, "", "") for t in (str, int, float, bool))  # noqa: E741


class Color(enum.Enum):
    """An enum that isn't a str."""

    RED = "red"


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        (F, 0.1, "0.1"),
        (F, 1e-9, "1e-09"),
        (F, 3, "3.0"),
        (F, math.nan, "nan"),
        (F, -math.inf, "-inf"),
        (F, None, ""),
        (I, 0, "0"),
        (I, None, ""),
        (B, True, "true"),
        (B, False, "false"),
        (S, Status.OK, "ok"),
        (S, Color.RED, "red"),
        (S, Path("a/b"), "a/b"),
        (F, np.float32(0.5), "0.5"),
        (I, np.int64(7), "7"),
        (B, np.bool_(True), "true"),
    ],
)
def test_format(column: Column, value: object, text: str) -> None:
    """Each type has one text; what wasn't measured is empty and never 0."""
    assert format_value(value, column) == text


@pytest.mark.parametrize(("column", "value"), [(F, "1"), (F, True), (I, 1.0), (I, True), (B, 1), (S, 3), (S, ["a"])])
def test_other_types_are_refused(column: Column, value: object) -> None:
    """A value of another type than the column's is an error that names both."""
    with pytest.raises(RowError, match=f"column {column.name} takes {column.name}, got {type(value).__name__}"):
        format_value(value, column)


def test_undeclared_keys_are_refused() -> None:
    """All undeclared keys of a row are named."""
    with pytest.raises(RowError, match="undeclared columns: a, b"):
        format_line({"b": 1, "a": 2, "int": 3}, (I,))


def test_control_characters_are_escaped() -> None:
    """NUL, newlines, escape codes, direction marks and lone surrogates can't steer anything; other text stays."""
    assert printable("a\x00b\nc\r\x1b[31m\u2028\u202e\ud800 é 模") == r"a\x00b\nc\r\x1b[31m\u2028\u202e\ud800 é 模"


def test_long_text_is_cut() -> None:
    """A field stays below what csv readers take, and shows that it was cut."""
    text = format_value("\n" * 10**6, S)
    assert len(text) == MAX_TEXT
    assert text.endswith("...")


@given(st.text(), st.integers(), st.floats(), st.booleans())
def test_any_row_is_one_line_and_reads_back(text: str, whole: int, real: float, truth: bool) -> None:
    """Whatever the values: one physical line of UTF-8, and the same values on reading."""
    line = format_line({"str": text, "int": whole, "float": real, "bool": truth}, (S, I, F, B))
    assert len(line.encode().decode().splitlines()) == 1
    row = parse_fields(split_line(line[:-1]), ("str", "int", "float", "bool"), (str, int, float, bool))
    assert row is not None
    assert row["str"] == printable(text)
    assert (row["int"], row["bool"]) == (whole, truth)
    assert row["float"] == real or (math.isnan(row["float"]) and math.isnan(real))


@pytest.mark.parametrize(
    ("text", "kind", "value"), [("", str, ""), ("", int, None), ("", float, None), ("", bool, None)]
)
def test_empty_fields(text: str, kind: type, value: object) -> None:
    """An empty field is "" where text is expected, else None."""
    assert parse_fields([text], ("x",), (kind,)) == {"x": value}


def test_fields_that_do_not_fit() -> None:
    """Another number of fields, another type, or no CSV at all is no row."""
    assert parse_fields(["1"], ("a", "b"), (int, int)) is None
    assert parse_fields(["x"], ("a",), (int,)) is None
    assert parse_fields(["yes"], ("a",), (bool,)) is None
    assert split_line("x" * 200_000) == []
