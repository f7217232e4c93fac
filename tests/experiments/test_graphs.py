"""Graphs: files of each level, forward and backward, and histograms of what they call."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))
import captures

from experiments.graphs import Graphs
from runner.compiling.graph_files import Level, graph_files, operators
from runner.compiling.trace_log import Record
from runner.errors import Unsupported
from runner.results.reader import read_rows, read_run


def histogram(done: captures.Done, direction: str) -> dict[str, int]:
    """Operator -> calls in all graphs of a direction."""
    rows = [row for row in done.context.tables["operators"] if row["direction"] == direction]
    found: Counter[str] = Counter()
    for row in rows:
        found[row["operator"]] += row["count"]
    return dict(found)


def written(done: captures.Done) -> list[str]:
    """Names of the files."""
    return sorted(path.name for path in done.context.artifacts.iterdir())


def test_what_dynamo_captured(tmp_path: Path) -> None:
    """One file per graph, with the functions and methods of the model's own code."""
    workload = captures.workload_of(captures.BreakInTheMiddle)
    done = captures.perform(Graphs(Level.dynamo), workload, tmp_path, options={"caches": str(tmp_path)})
    assert written(done) == ["dynamo_0-0_forward.py", "dynamo_1-0_forward.py"]
    assert histogram(done, "forward") == {"torch._C._nn.linear": 1, "torch.relu": 1, "Tensor.sin": 1}
    assert done.of("level", "graphs", "ops", "unique_ops", "folder") == ("dynamo", 2, 3, 3, "artifacts/cell")
    assert "code: x = torch.relu(self.layer(x))" in (done.context.artifacts / "dynamo_0-0_forward.py").read_text()


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_forward_and_backward_of_aot_autograd(mode: str, tmp_path: Path) -> None:
    """Aten operators; the backward is there in training only."""
    done = captures.perform(
        Graphs(Level.aot), captures.workload_of(captures.Whole, mode), tmp_path, "aot_eager", {"caches": str(tmp_path)}
    )
    forward, backward = histogram(done, "forward"), histogram(done, "backward")
    assert forward["torch.ops.aten.addmm.default"] == forward["torch.ops.aten.sin.default"] == 1
    assert done.of("forward_graphs", "backward_graphs") == (1, int(mode == "training"))
    assert ("torch.ops.aten.cos.default" in backward) == (mode == "training")
    assert done.context.flags == []


def test_a_backend_without_such_graphs_says_which_it_has(tmp_path: Path) -> None:
    """Dynamo alone has no code of inductor's; a function that is not compiled has nothing."""
    workload, options = captures.workload_of(captures.Whole), {"caches": str(tmp_path)}
    with pytest.raises(Unsupported, match=r"experiment\.level=dynamo$"):
        captures.perform(Graphs(Level.code), workload, tmp_path, options=options)
    from runner.backends.eager import Eager

    with pytest.raises(Unsupported, match="nothing was compiled"):
        captures.perform(Graphs(Level.dynamo), workload, tmp_path, Eager(), options)


GRAPH = """
class <lambda>(torch.nn.Module):
    def forward(self, arg0_1: "f32[3]", s7: "Sym(s7)"):
        # File: x.py:1
        l_x_ = arg0_1
        weight = self.weight
        inf = -1
        mul: "f32[3]" = torch.ops.aten.mul.Tensor(arg0_1, -inf);  arg0_1 = None
        chunk = mul.chunk(2, -1);  mul = None
        first = chunk[0];  chunk = None
        neg = -first
        first += neg;  added = first;  first = None
        is_more = s7 > 2;  s7 = None
        size = 2 * is_more
        other = self.sub_module(neg)
        _set_grad_enabled = torch._C._set_grad_enabled(False);  _set_grad_enabled = None
        return (size,)
"""
CODE = """
cpp_fused_0 = async_compile.cpp_pybinding(['float*'], r'''x''')
class Runner:
    def call(self, args):
        tangents_1, = args
        buf0 = empty_strided_cpu((3, ), (1, ), torch.float32)
        extern_kernels.mm(tangents_1, buf0, out=buf0)
        cpp_fused_0(buf0)
        with torch.cuda._DeviceGuard(0):
            triton_poi_fused_add_0.run(buf0, 3, stream=stream0)
            triton_poi_fused_add_0.run(buf0, 3, stream=stream0)
        buf1 = torch.ops.aten.sort.stable(buf0)
        return (buf1, )
"""


def test_a_graph_is_counted() -> None:
    """Calls of functions, methods, modules and Python's operators; names and constants call nothing."""
    assert operators(GRAPH, Level.aot) == {
        "torch.ops.aten.mul.Tensor": 1,
        "Tensor.chunk": 1,
        "operator.getitem": 1,
        "operator.neg": 1,
        "operator.iadd": 1,
        "operator.gt": 1,
        "operator.mul": 1,
        "self.sub_module": 1,
        "torch._C._set_grad_enabled": 1,
    }


def test_kernels_are_counted() -> None:
    """Inductor's own and others', not its bookkeeping."""
    assert operators(CODE, Level.code) == {
        "extern_kernels.mm": 1,
        "cpp_fused_0": 1,
        "triton_poi_fused_add_0": 2,
        "torch.ops.aten.sort.stable": 1,
    }


def test_files_are_named_after_level_compilation_and_direction() -> None:
    """A backward has gradients coming in, or is compiled autograd's; several graphs of a compilation are numbered."""
    records = [
        Record("inductor_output_code", GRAPH, 0, 0),
        Record("inductor_output_code", GRAPH, 0, 0),
        Record("inductor_output_code", CODE, 0, 1),
        Record("inductor_output_code", GRAPH, 2, 0, is_compiled_autograd=True),
        Record("inductor_output_code", GRAPH, None, None),
        Record("aot_forward_graph", GRAPH, 0, 0),
    ]
    assert [file.name for file in graph_files(records, Level.code)] == [
        "code_0-0_forward.py",
        "code_0-0_forward_2.py",
        "code_0-1_backward.py",
        "code_2-0_backward.py",
        "code_forward.py",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("level", ["inductor", "code"])
def test_inductor(level: str, cli: Any, tmp_path: Path) -> None:
    """What inductor makes is written whatever an earlier run has left in its caches."""
    for run in ("one", "two"):
        done = cli(
            "experiment=graphs", "model=mlp", "mode=training", f"experiment.level={level}", f"hydra.run.dir={run}"
        )
        assert done.returncode == 0, done.stderr
        (row,) = read_run(tmp_path / run).rows
        assert (row["forward_graphs"], row["backward_graphs"]) == (1, 1)
        assert row["ops"] > 0
        names = {line["file"] for line in read_rows(tmp_path / run / "operators.csv")}
        assert names == {path.name for path in (tmp_path / run / row["folder"]).iterdir()}


def test_the_command(cli: Any, tmp_path: Path) -> None:
    """Files lie where the row says."""
    done = cli("experiment=graphs", "backend=aot_eager", "model=mlp", "mode=training", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    (row,) = read_run(tmp_path / "out").rows
    found = {path.name for path in (tmp_path / "out" / row["folder"]).iterdir()}
    assert found == {"aot_0-0_forward.py", "aot_0-0_backward.py"}
