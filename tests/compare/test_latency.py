"""Absolute latencies are compared over processes, and only there."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.compare.latency import estimate, mean_speed_of, speed_of
from runner.compare.sides import Entry, read_side


def add_samples(folder: Path, seconds: list[float]) -> None:
    """Samples of the only cell: one process for each of `seconds`."""
    (entry,) = read_side(folder).entries
    rng = np.random.default_rng(0)
    arrays = {f"tB_{i}": s * rng.lognormal(0, 0.01, 30) for i, s in enumerate(seconds)}
    (folder / "samples").mkdir()
    np.savez(folder / "samples" / f"{entry.row['cell_id']}.npz", **arrays)


def test_three_processes_are_compared(maker: Any) -> None:
    """The estimate is the mean speed over processes."""
    folder = maker.run({"a": {"n_processes": 3}})
    add_samples(folder, [0.010, 0.011, 0.012])
    found = speed_of(read_side(folder).entries[0])
    assert found is not None
    assert math.exp(-found.log_speedup) == pytest.approx(10.97, rel=0.01)
    assert found.processes == 3


def test_fewer_are_not(maker: Any) -> None:
    """One or two processes say nothing about what a process's own memory layout does; nor does a row without samples."""
    for processes in (1, 2):
        folder = maker.run({"a": {"n_processes": processes}})
        add_samples(folder, [0.01] * processes)
        assert speed_of(read_side(folder).entries[0]) is None
    assert speed_of(maker.side({"a": {"n_processes": 3}}).entries[0]) is None


def test_the_interval_holds_what_it_says() -> None:
    """Of 300 estimates over three processes, at most 8 % exclude the truth."""
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(300):
        times = [np.exp(rng.normal(rng.normal(0, 0.05), 0.02, 20)) for _ in range(3)]
        found = estimate(times)
        assert found is not None
        missed += abs(found.log_speedup) > 1.96 * found.se_within / math.sqrt(3)
    assert missed / 300 <= 0.08


def test_means_of_three_processes(maker: Any) -> None:
    """The row's own mean, with the error that its processes' means have."""
    folder = maker.run({"a": {"n_processes": 3}})
    add_samples(folder, [0.010, 0.011, 0.012])
    (entry,) = read_side(folder).entries
    found = mean_speed_of(Entry({**entry.row, "mean": 0.0112}, run=entry.run))
    assert found is not None
    assert (math.exp(-found.log_speedup), found.processes) == (pytest.approx(0.0112), 3)
    # Student's quantile of two degrees of freedom over the normal one, times the spread of log 10, 11 and 12
    assert found.se_within == pytest.approx(4.303 / 1.96 * np.std(np.log([10, 11, 12]), ddof=1), rel=0.1)


def test_a_mean_without_an_interval(maker: Any) -> None:
    """Of one process, or without samples, it is known without its error; a row without the column has none."""
    (entry,) = maker.side({"a": {}}).entries
    for processes in (1, 3):
        found = mean_speed_of(Entry({**entry.row, "mean": 0.01, "n_processes": processes}))
        assert found is not None
        assert math.isnan(found.se_within)
    assert mean_speed_of(entry) is None
