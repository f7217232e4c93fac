"""Columns in a form that is short as JSON and quick to unpack in a browser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

DIGITS = 7
#: Up to here a whole number is as short without a point.
WHOLE = 1e9


def pack(values: Sequence[Any], kind: type) -> Any:
    """The values of a column: numbers as a list, words as a dictionary and places in it; None for an empty column.

    Words: `{"d": words, "i": places}`. Floats keep 7 digits; nan and inf become the words for them.
    """
    if kind is float:
        packed = [number(value) for value in values]
        return packed if any(value is not None for value in packed) else None
    if kind is not str:
        return list(values) if any(value is not None for value in values) else None
    words: dict[str, int] = {}
    places = [words.setdefault(value or "", len(words)) for value in values]
    return {"d": list(words), "i": places} if any(words) else None


def number(value: Any) -> Any:
    """A float with as many digits as anybody looks at."""
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return str(value)
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < WHOLE else short
