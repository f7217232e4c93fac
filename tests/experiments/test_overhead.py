"""Overhead: graphs and guards are counted, and a graph that does nothing does nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))
import captures

from experiments.overhead import Overhead, difference
from runner.compiling.graphs import Counting, each_graph, guard_times, replayed
from runner.measure.statistics import hodges_lehmann
from runner.results.reader import read_run

#: dynamo asks tensors that are no leaves.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute")


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_every_part_has_its_column(mode: str, tmp_path: Path) -> None:
    """Graphs, calls and guards as they are; times in microseconds with intervals around them."""
    done = captures.perform(Overhead(), captures.workload_of(captures.Nested, mode), tmp_path)
    row = done.row
    assert (row["graphs"], row["graph_calls"], row["breaks"]) == (5, 7, 3)
    assert row["guards"] > 0
    assert row["guards_us"] > 0
    assert row["bare_us"] > 0
    assert row["bare_us_lo"] <= row["bare_us"] <= row["bare_us_hi"]
    assert row["overhead_us_lo"] <= row["overhead_us"] <= row["overhead_us_hi"]
    assert row["bare_us_per_graph"] == pytest.approx(row["bare_us"] / 7)
    assert row["cache_lookup_latency"] > 0
    assert row["n_pairs"] >= 6


def test_a_backend_without_graphs_has_no_share_per_graph(tmp_path: Path) -> None:
    """Eager against itself has an overhead around 0, and no graphs to divide it by."""
    from runner.backends.eager import Eager

    row = captures.perform(Overhead(), captures.workload_of(captures.Whole), tmp_path, Eager()).row
    assert (row["graphs"], row["graph_calls"], row["guards"], row["guards_us"]) == (0, 0, 0, 0)
    assert row["overhead_us_per_graph"] is row["bare_us_per_graph"] is row["cache_lookup_latency"] is None


def test_a_replayed_graph_computes_once() -> None:
    """Its outputs are those of its first call, whatever it is given afterwards."""
    torch._dynamo.reset()
    with each_graph(replayed), torch.no_grad():
        compiled = torch.compile(captures.Whole(), backend="eager")
        first = compiled(torch.ones(3, 4))
        assert compiled(torch.zeros(3, 4)) is first


def test_calls_of_graphs_are_counted() -> None:
    """Each call of each graph, also of those that are shared."""
    torch._dynamo.reset()
    counting = Counting()
    with each_graph(counting.wrap):
        compiled = torch.compile(captures.Nested(), backend="eager")
        compiled(torch.ones(3, 4))
        before = counting.calls
        compiled(torch.ones(3, 4))
    assert counting.calls - before == 7


def test_guards_are_timed_for_each_frame() -> None:
    """As many times as frames were compiled."""
    torch._dynamo.reset()
    with guard_times(3) as times:
        torch.compile(captures.BreakInTheMiddle(), backend="eager")(torch.ones(3, 4))
    assert len(times) == 2
    assert min(times) > 0


def test_the_difference_is_paired() -> None:
    """The centre and interval of the pairs' differences in microseconds; none with too few pairs."""
    rng = np.random.default_rng(0)
    a = rng.lognormal(0, 0.5, 20) * 1e-3
    b = a + 7e-6 + rng.normal(0, 1e-7, 20)
    row = difference("x", {"tA": a, "tB": b}, 0.95, 2)
    assert row["x"] == pytest.approx(hodges_lehmann((b - a) * 1e6).center)
    assert row["x"] == pytest.approx(7, abs=0.2)
    assert row["x_hi"] - row["x_lo"] < 0.5
    assert row["x_per_graph"] == row["x"] / 2
    assert difference("x", {"tA": a[:3], "tB": b[:3]}, 0.95, 0)["x_lo"] is None


def test_the_command(cli: Any, tmp_path: Path) -> None:
    """A row with upstream's headline columns, and ours in the summary."""
    few = ("measure.max_pairs=10", "measure.warmup_max_pairs=3", "measure.max_time_s=3")
    done = cli("experiment=overhead", "model=mlp", *few, "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    (row,) = read_run(tmp_path / "out").rows
    assert (row["status"], row["backend"], row["graphs"], row["graph_calls"]) == ("ok", "eager", 1, 1)
    assert "overhead_us" in done.stdout
    assert (tmp_path / "out" / "samples" / f"{row['cell_id']}.npz").exists()
