"""Coverage: counts on models whose graphs are known by construction, in both modes and with several backends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))
import captures

from experiments.coverage import Coverage
from runner.backends.dynamo import Dynamo
from runner.backends.inductor import Inductor
from runner.cells import Cell
from runner.errors import UsageError
from runner.results.reader import read_rows, read_run

COUNTS = ("total_ops", "captured_ops", "graphs", "graph_calls", "breaks", "fallbacks", "compiled_frames")
#: What a hand counts, in the order of COUNTS.
FORWARD = {
    captures.Whole: (3, 3, 1, 1, 0, 0, 1),
    captures.BreakInTheMiddle: (3, 3, 2, 2, 1, 0, 2),
    captures.DataDependent: (5, 4, 2, 2, 1, 0, 2),
    captures.LibraryCall: (3, 2, 2, 2, 1, 0, 2),
    captures.Nested: (7, 7, 5, 7, 3, 0, 5),
    captures.Loop: (7, 0, 0, 0, 0, 1, 0),
    captures.UnrolledLoop: (7, 7, 1, 1, 0, 0, 1),
}


@pytest.mark.parametrize("model", FORWARD)
def test_the_count_is_the_hands(model: type[captures.Known], tmp_path: Path) -> None:
    """Operators, graphs, their calls, breaks and frames are exactly those that the code of the model shows."""
    done = captures.perform(Coverage(), captures.workload_of(model), tmp_path)
    assert done.of(*COUNTS) == FORWARD[model]
    total, captured, *_ = FORWARD[model]
    assert done.row["pct_ops"] == pytest.approx(100 * captured / total)
    assert done.of("outside_ops", "graph_ops") == (total - captured, captured)
    assert done.row["pct_time"] == pytest.approx(100.0) if captured == total else done.row["pct_time"] < 100


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # dynamo asks a tensor that is no leaf
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_backward_belongs_to_where_its_forward_ran(backend: str, tmp_path: Path) -> None:
    """In training the backward of what is outside is outside: exp and the product of its gradient, nothing else."""
    done = captures.perform(Coverage(), captures.workload_of(captures.LibraryCall, "training"), tmp_path, backend)
    assert done.row["outside_ops"] == 2
    # forward: linear, exp, cos; backward: sin, neg, mul; mul; and of linear's t and addmm: t, mm, t, sum, view and t
    assert done.of("total_ops", "captured_ops") == (13, 11)
    whole = captures.perform(Coverage(), captures.workload_of(captures.Whole, "training"), tmp_path, backend)
    assert whole.of("pct_ops", "outside_ops") == (100.0, 0)


def test_compiled_autograd_keeps_its_part_in_the_backward(tmp_path: Path) -> None:
    """A backend that captures the backward pass when it runs captures all of it here as well."""
    backend = Dynamo(name="aot_eager", compiled_autograd=True)
    done = captures.perform(Coverage(), captures.workload_of(captures.Whole, "training"), tmp_path, backend)
    assert done.of("pct_ops", "outside_ops") == (100.0, 0)
    assert done.row["graphs"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["inference", "training"])
def test_a_compiler_that_fuses_captures_as_much(mode: str, tmp_path: Path) -> None:
    """Inductor's kernels are no operators, and stand for those of eager all the same."""
    plain = captures.perform(Coverage(), captures.workload_of(captures.DataDependent, mode), tmp_path)
    fused = captures.perform(Coverage(), captures.workload_of(captures.DataDependent, mode), tmp_path, Inductor())
    assert fused.of(*COUNTS) == plain.of(*COUNTS)
    assert fused.row["graph_ops"] < plain.row["graph_ops"]


def test_the_count_leaves_the_compiler_as_it_was(tmp_path: Path) -> None:
    """What is compiled afterwards is not marked, and the model has its weights."""
    from torch._dynamo.output_graph import OutputGraph

    before = OutputGraph.call_user_compiler
    workload = captures.workload_of(captures.Whole, "training")
    weights = {name: value.detach().clone() for name, value in workload.parameters().items()}
    captures.perform(Coverage(), workload, tmp_path)
    assert OutputGraph.call_user_compiler is before
    moved = {name: (value - weights[name]).abs().max().item() for name, value in workload.parameters().items()}
    assert all(distance < 0.1 for distance in moved.values())


def test_the_command(cli: Any, tmp_path: Path) -> None:
    """Upstream's columns stand directly after upstream's key, in upstream's order."""
    done = cli("experiment=coverage", "model=transformer", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    (row,) = read_run(tmp_path / "out").rows
    assert (row["status"], row["captured_ops"], row["total_ops"], row["pct_ops"]) == ("ok", 43, 43, 100.0)
    header = (tmp_path / "out" / "coverage.csv").read_text().splitlines()[0]
    assert header.startswith("dev,name,batch_size,tag,graphs,graph_calls,captured_ops,total_ops,pct_ops,pct_time,")


def test_a_backend_is_needed() -> None:
    """Nothing to count without one."""
    with pytest.raises(UsageError, match="give backend=NAME"):
        Coverage().expand(Cell({"model": {"name": "mlp"}}))


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.models
def test_real_models_have_as_many_operators_as_their_graphs_have_nodes(cli: Any, tmp_path: Path) -> None:
    """Counted in a profile, and counted in the text of dynamo's graph; elements of tuples are nodes only."""
    words = ("suite=torchbench", "model=*", "batch_size=1", 'select.include=["^(lennard_jones|dcgan|resnet18)$"]')
    for experiment in ("coverage", "graphs"):
        own = ("backend=dynamo", "experiment.level=dynamo") if experiment == "graphs" else ()
        done = cli(f"experiment={experiment}", *own, *words, f"hydra.run.dir={experiment}")
        assert done.returncode == 0, done.stderr
    captured = {row["name"]: row["captured_ops"] for row in read_run(tmp_path / "coverage").rows}
    nodes = dict.fromkeys(captured, 0)
    for line in read_rows(tmp_path / "graphs" / "operators.csv"):
        nodes[line["name"]] += int(line["count"]) if line["operator"] != "operator.getitem" else 0
    assert captured == nodes
    assert len(captured) == 3
