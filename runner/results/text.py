"""How values become the text of a CSV file and back: one row is exactly one physical line of UTF-8."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from runner.results.columns import Column, Row

#: Longest text of one field: what spreadsheets take, and far below the limit of Python's csv reader.
MAX_TEXT = 32_000


class RowError(ValueError):
    """A row doesn't fit its columns: an undeclared key, or a value of another type. A defect of who made the row."""


def printable(text: str) -> str:
    r"""`text` with everything that isn't printable escaped (`\n`, `\x00`, `\x1b`, `\u202e`); a space stays.

    One way only: it makes text safe for a line of a file or of a terminal, and there is nothing that undoes it.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def format_line(row: Row, columns: Sequence[Column]) -> str:
    """The line for `row`, with its newline. Raises RowError."""
    unknown = sorted(set(row) - {column.name for column in columns})
    if unknown:
        raise RowError(f"row has values for undeclared columns: {', '.join(unknown)}")
    return join_fields([format_value(row.get(column.name), column) for column in columns])


def join_fields(fields: Sequence[str]) -> str:
    """One CSV line, with its newline."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(fields)
    return buffer.getvalue()


def split_line(line: str) -> list[str]:
    """Fields of one CSV line; none where it isn't one, so that a damaged line never stops a reader."""
    if 0 < len(line) <= csv.field_size_limit() and '"' not in line and "\r" not in line:
        return line.split(",")  # what a csv.reader finds as well, in a fifth of the time
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def format_value(value: Any, column: Column) -> str:
    """Text of one value; empty for None. Takes numpy scalars and one-element tensors too. Raises RowError."""
    value = value.value if isinstance(value, Enum) else value
    value = value.item() if hasattr(value, "item") else value
    if value is None:
        return ""
    text = FORMATTERS[column.type](value)
    if text is None:
        given = printable(f"{type(value).__name__} {value!r}")
        raise RowError(f"column {column.name} takes {column.type.__name__}, got {given[:200]}")
    return text


def finite(value: Any) -> Any:
    """`value`, or None for a float that JSON doesn't have: nan and inf."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def format_str(value: Any) -> str | None:
    """Text or a path, made printable, of at most MAX_TEXT characters."""
    if not isinstance(value, (str, os.PathLike)):
        return None
    text = printable(str(value)[: MAX_TEXT + 1])
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."


def format_int(value: Any) -> str | None:
    """Whole numbers; a bool isn't one."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def format_float(value: Any) -> str | None:
    """The shortest text that reads back as the same float; nan, inf and -inf as such."""
    return repr(float(value)) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def format_bool(value: Any) -> str | None:
    """The words true and false."""
    return str(value).lower() if isinstance(value, bool) else None


FORMATTERS = {str: format_str, int: format_int, float: format_float, bool: format_bool}
PARSERS: dict[type, Callable[[str], Any]] = {int: int, float: float, bool: {"true": True, "false": False}.__getitem__}


def parse_fields(fields: Sequence[str], names: Sequence[str], types: Sequence[type]) -> Row | None:
    """The row that `fields` hold, or None where they don't fit."""
    return row_parser(names, types)(fields)


def row_parser(names: Sequence[str], types: Sequence[type]) -> Callable[[Sequence[str]], Row | None]:
    """Makes rows of the fields of these columns. An empty field is "" for str and None for all else."""
    parsers = [(name, PARSERS[kind]) for name, kind in zip(names, types, strict=True) if kind is not str]

    def parse(fields: Sequence[str]) -> Row | None:
        if len(fields) != len(names):
            return None
        row: Row = dict(zip(names, fields, strict=True))
        try:
            for name, parser in parsers:
                text = row[name]
                row[name] = parser(text) if text else None
        except (ValueError, KeyError):
            return None
        return row

    return parse
