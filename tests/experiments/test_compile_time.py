"""Compile time: the three starts, their intervals, and what they found in the caches."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from experiments.compile_time import CompileTime, combined, estimate
from runner.cells import Cell
from runner.compiling.caches import CACHES, fresh_caches, remove_leftovers
from runner.compiling.instruction_count import counted
from runner.experiment import Outcome
from runner.results.columns import Status
from runner.results.reader import read_rows, read_run

CELL = Cell({"model": {"name": "m"}, "measure": {"ci_level": 0.95}})


def outcome(**values: Any) -> Outcome:
    """What a child gave."""
    return Outcome(Status.OK, values=values)


def test_each_repeat_is_two_processes_with_caches_of_their_own() -> None:
    """Cold and warm share a folder, which is gone when the next repeat begins."""
    attempts = CompileTime(repeats=2).attempts(CELL)
    asked = [next(attempts)]
    for seconds in (8.0, 2.0, 2.0):
        values = {"compile_cold_s": seconds} if len(asked) % 2 else {"compile_warm_s": seconds}
        asked.append(attempts.send(outcome(**values)))
        assert Path(asked[-1].options["caches"]).is_dir()
    with pytest.raises(StopIteration) as end:
        attempts.send(outcome(compile_warm_s=2.0))
    row = end.value.value
    assert [(a.options["start"], a.options["repeat"]) for a in asked] == [
        ("cold", 0), ("warm", 0), ("cold", 1), ("warm", 1),
    ]  # fmt: skip
    folders = [a.options["caches"] for a in asked]
    assert folders[0] == folders[1] != folders[2] == folders[3]
    assert not any(Path(folder).exists() for folder in folders)
    assert row["compile_cold_s"] == pytest.approx(4.0)
    assert (row["compile_warm_s"], row["repeats"], row["status"]) == (pytest.approx(2.0), 2, "ok")


def test_a_failure_ends_the_cell_with_what_is_known() -> None:
    """The status is that of the child that failed."""
    attempts = CompileTime(repeats=3).attempts(CELL)
    next(attempts)
    attempts.send(outcome(compile_cold_s=3.0, compile_cached_s=1.0))
    with pytest.raises(StopIteration) as end:
        attempts.send(Outcome(Status.CRASHED, error="signal 11", error_type="SIGSEGV"))
    row = end.value.value
    assert (row["status"], row["error_type"], row["compile_cold_s"]) == ("crashed", "SIGSEGV", pytest.approx(3.0))
    assert row.get("compile_warm_s") is None


def test_the_interval_is_over_processes() -> None:
    """Student's, of the logarithms; none for one process."""
    row = estimate("t", [2.0, 2.2, 1.8], 0.95)
    logs = [math.log(v) for v in (2.0, 2.2, 1.8)]
    mean = sum(logs) / 3
    half = 4.302653 * math.sqrt(sum((x - mean) ** 2 for x in logs) / 2 / 3)
    assert row["t"] == pytest.approx(math.exp(mean))
    assert row["t_lo"] == pytest.approx(math.exp(mean - half))
    assert row["t_hi"] == pytest.approx(math.exp(mean + half))
    assert estimate("t", [2.0], 0.95) == {"t": pytest.approx(2.0)}
    assert estimate("t", [], 0.95) == {}


def test_instructions_are_the_least_of_the_cold_starts() -> None:
    """What disturbs a start only adds instructions."""
    outcomes = [
        outcome(compile_cold_s=1.0, instructions=1100, flags="a"),
        outcome(compile_warm_s=1.0, instructions=300, cache_hits=2, cache_misses=0, flags="a;b"),
        outcome(compile_cold_s=1.0, instructions=1000),
    ]
    row = combined(outcomes, 0.95)
    assert (row["instructions"], row["cache_hits"], row["cache_misses"], row["flags"]) == (1000, 2, 0, "a;b")
    assert row["instructions_range_pct"] == pytest.approx(10)
    assert combined(outcomes[:1], 0.95)["instructions_range_pct"] is None


class FakeCounter:
    """torch's counter, on a machine that has one or not."""

    def __init__(self, number: int) -> None:
        self.number, self.ended = number, 0

    def start(self) -> int:
        return self.number

    def end(self, number: int) -> int:
        self.ended += 1
        return 1234


@pytest.mark.parametrize(("number", "count"), [(5, 1234), (-1, None)])
def test_instructions_are_counted_where_the_kernel_can(
    number: int, count: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The action runs once either way, and a counter that was opened is closed when it raises."""
    import torch

    counter, calls = FakeCounter(number), []
    monkeypatch.setattr(torch._C, "_instruction_counter", counter)
    assert counted(lambda: calls.append(1) or "done") == ("done", count)
    assert calls == [1]
    with pytest.raises(ZeroDivisionError):
        counted(lambda: 1 / 0)
    assert counter.ended == (2 if count else 0)


def test_caches_of_dead_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of living ones stay."""
    monkeypatch.setattr("runner.compiling.caches.gettempdir", lambda: str(tmp_path))
    (tmp_path / f"{CACHES}4194305-x").mkdir()
    (tmp_path / f"{CACHES}1-x").mkdir()
    remove_leftovers()
    assert [path.name for path in tmp_path.iterdir()] == [f"{CACHES}1-x"]
    with fresh_caches() as folder:
        assert list(Path(folder).iterdir()) == []


def test_the_command(cli: Any, tmp_path: Path) -> None:
    """One row, a line for each start, and the phases of each."""
    done = cli("experiment=compile_time", "backend=aot_eager", "model=mlp", "experiment.repeats=1", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    (row,) = read_run(tmp_path / "out").rows
    assert (row["status"], row["unique_graphs"], row["repeats"]) == ("ok", 1, 1)
    assert row["compile_cold_s_lo"] is None
    starts = [line["start"] for line in read_rows(tmp_path / "out" / "compile_starts.csv")]
    assert starts == ["cold", "cached", "warm"]
    phases = read_rows(tmp_path / "out" / "compile_metrics.csv")
    assert {line["start"] for line in phases} == {"cold", "cached", "warm"}


@pytest.mark.slow
def test_a_warm_start_is_warm(cli: Any, tmp_path: Path) -> None:
    """A cold start finds no graph in inductor's caches, the others find all."""
    done = cli("experiment=compile_time", "model=mlp", "mode=training", "experiment.repeats=2", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    lines = read_rows(tmp_path / "out" / "compile_starts.csv")
    found = {(line["start"], line["cache_hits"], line["cache_misses"]) for line in lines}
    assert found == {("cold", "0", "1"), ("cached", "1", "0"), ("warm", "1", "0")}
