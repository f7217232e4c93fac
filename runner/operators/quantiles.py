"""Quantiles of speedups as upstream takes them, and weighted by how often each input set occurs."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: Upstream's three.
QUANTILES = (0.2, 0.5, 0.8)


def quantile(values: Sequence[float], q: float, counts: Sequence[int] | None = None) -> float:
    """The q-quantile, interpolated linearly as numpy does, of each value repeated `counts` times.

    Needs at least one value and counts of at least 1.
    """
    pairs = sorted(zip(values, counts or [1] * len(values), strict=True))
    at = q * (sum(count for _, count in pairs) - 1)
    low, high = _value_at(pairs, math.floor(at)), _value_at(pairs, math.ceil(at))
    return low + (at - math.floor(at)) * (high - low)


def _value_at(pairs: Sequence[tuple[float, int]], place: int) -> float:
    for value, count in pairs:
        place -= count
        if place < 0:
            return value
    return pairs[-1][0]
