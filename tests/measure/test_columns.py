"""The table of columns."""

from __future__ import annotations

from runner.measure.columns import COLUMNS, PROCESS_COLUMNS


def test_columns_are_described_once_each() -> None:
    """Every column has a unique name, a type that CSV knows and a meaning."""
    table = (*COLUMNS, *PROCESS_COLUMNS)
    names = [name for name, *_ in table]
    assert len(set(names)) == len(names)
    assert {kind for _, kind, *_ in table} <= {str, int, float, bool}
    assert all(meaning for _, _, _, meaning, _ in table)


def test_upstreams_headline_columns_come_first() -> None:
    """Existing dashboards read speedup and abs_latency right after the key."""
    assert [name for name, _, _, _, headline in COLUMNS if headline] == ["speedup", "abs_latency"]
