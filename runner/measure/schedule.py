"""Which side goes first in a pair, and after which pairs the interval is looked at."""

from __future__ import annotations

import hashlib
import math

from runner.measure.settings import Order


def b_first(order: Order, seed: int, name: str, pair: int) -> bool:
    """Does side B run first in this pair (counted from 0)? The same for the same arguments on every machine."""
    if order is Order.abab:
        return False
    if order is Order.abba:
        return pair % 2 == 1
    return bool(hashlib.sha256(f"{seed}/{name}/{pair}".encode()).digest()[0] & 1)


def looks(first: int, last: int, growth: float) -> frozenset[int]:
    """Numbers of pairs after which to look: `first`, then even numbers that grow by `growth`, and `last`."""
    found = {last}
    n = first
    while n < last:
        found.add(n)
        n = max(n + 1, 2 * math.ceil(n * growth / 2))
    return frozenset(found)
