"""The machine's certificate: what it says of measurements that are made up, and when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from experiments import selftest
from experiments.selftest import Selftest, allowed, certificate
from runner.results.columns import Row


def measured(speedup: float, half_width: float | None = 0.02) -> Row:
    """A measurement; None: too few pairs for an interval."""
    known = half_width is not None
    return {
        "speedup": speedup,
        "speedup_lo": speedup - half_width if half_width is not None else None,
        "speedup_hi": speedup + half_width if half_width is not None else None,
        "mde80": 0.03 if known else None,
        "converged": known,
        "eager_latency": 3.0,
        "n_pairs": 10 if known else 4,
        "psi_cpu_pct": 2.0 if known else None,
    }


def test_allowed_alarms_are_the_tail_of_what_chance_gives() -> None:
    """Six of forty (0.3 % of machines without fault have more), in proportion for other numbers."""
    assert [allowed(repeats) for repeats in (1, 10, 40, 100)] == [0, 2, 6, 15]


def test_certificate() -> None:
    """Alarms are intervals without 1 on either side, one that touches it is none; what isn't known counts nowhere."""
    rows = [measured(1.0), measured(1.05), measured(0.95), measured(0.98), measured(1.5, None)]
    found = certificate(rows, [0.01, 0.02, 0.03, 0.04, 0.05], repeats=40)
    assert (found["alarms"], found["repeats"], found["allowed_alarms"]) == (2, 5, 6)
    assert found["converged_share"] == 0.8
    assert found["largest_error_pct"] == pytest.approx(50)
    assert found["speedup_cv_pct"] == pytest.approx(20.872, abs=0.001)
    assert (found["pair_sd_pct"], found["mde80_pct"]) == (3, 3)
    assert (found["call_ms"], found["pairs"], found["psi_cpu_pct"]) == (3, 8.8, 2)


def test_one_measurement_has_no_scatter() -> None:
    """And without any interval nothing can be said of what would have been found."""
    found = certificate([measured(1.0, None)], [0.01], repeats=1)
    assert [found[name] for name in ("alarms", "speedup_cv_pct", "mde80_pct")] == [0, None, None]


class MadeUpTimer:
    """Measures nothing: gives the speedups in turn."""

    def __init__(self, speedups: Iterator[float]) -> None:
        self.speedups = speedups

    def compare(self, *_: Any, **__: Any) -> Any:
        """The next one, of pairs that are all alike."""
        import numpy as np

        speedup = next(self.speedups)
        samples = {"tA": np.full(10, 3e-3) * speedup, "tB": np.full(10, 3e-3)}
        return SimpleNamespace(row=lambda: measured(speedup), samples=lambda: samples)

    def process_row(self) -> Row:
        """Of a process."""
        return {"threads": 1, "malloc": "no_trim"}


def made_up(monkeypatch: pytest.MonkeyPatch, speedups: list[float], samples_file: bool = True) -> tuple[Row, list[str]]:
    """The row of a certificate of measurements that give `speedups`, and the names of the samples that were kept."""
    found = iter(speedups)
    monkeypatch.setattr(selftest, "Timer", lambda _context: MadeUpTimer(found))
    monkeypatch.setattr(selftest, "work_of", lambda *_: lambda: None)
    kept: list[str] = []
    context: Any = SimpleNamespace(
        phase=lambda _phase: nullcontext(),
        device=None,
        cell=SimpleNamespace(name="same"),
        measure=SimpleNamespace(samples_file=samples_file),
        samples=kept.extend,
    )
    row: Row = {}
    for values in Selftest(repeats=len(speedups)).run(None, context):
        row |= values
    return row, kept


@pytest.mark.parametrize("alarms", [6, 7])
def test_more_alarms_than_chance_fail(monkeypatch: pytest.MonkeyPatch, alarms: int) -> None:
    """Forty repeats with so many intervals that exclude 1: `check_error` above six, with what to make of it."""
    row, _ = made_up(monkeypatch, [1.1] * alarms + [1.0] * (40 - alarms))
    assert (row["alarms"], row["repeats"]) == (alarms, 40)
    assert row.get("status") == (None if alarms <= 6 else "check_error")
    if alarms > 6:
        assert row["error"].startswith("7 of 40 A/A measurements call the same callable different, 6 are allowed")


@pytest.mark.parametrize(("wanted", "kept"), [(True, ["tA_0", "tB_0", "tA_1", "tB_1"]), (False, [])])
def test_samples_are_kept_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch, wanted: bool, kept: list[str]) -> None:
    """Those of each repeat; none with measure.samples_file=false."""
    assert made_up(monkeypatch, [1.0, 1.0], samples_file=wanted)[1] == kept
