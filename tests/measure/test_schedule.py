"""Order within pairs and moments to look."""

from __future__ import annotations

from runner.measure.schedule import b_first, looks
from runner.measure.settings import Order


def test_looks_are_few_and_end_at_the_last_pair() -> None:
    """10, 12, 16, 20, 24, 30, ... even, growing by a fifth."""
    assert sorted(looks(10, 60, 1.2)) == [10, 12, 16, 20, 24, 30, 36, 44, 54, 60]
    assert sorted(looks(6, 10, 1.2)) == [6, 8, 10]
    assert looks(10, 10, 1.2) == {10}


def test_the_random_order_is_fair_and_fixed() -> None:
    """Half of the pairs start with B; the first coins are the same on every machine and in every version."""
    coins = [b_first(Order.random_pair, 0, "resnet18", pair) for pair in range(2000)]
    assert 900 < sum(coins) < 1100
    assert "".join("BA"[not coin] for coin in coins[:16]) == "ABABBAABBBABBAAB"


def test_the_fixed_orders() -> None:
    """abab always starts with A, abba alternates."""
    assert [b_first(Order.abab, 0, "m", i) for i in range(4)] == [False] * 4
    assert [b_first(Order.abba, 0, "m", i) for i in range(4)] == [False, True, False, True]
