"""The experiment speedup as a user runs it: all that it can be asked for beside the numbers, and what is refused."""

from __future__ import annotations

import csv
import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiments.speedup import Speedup
from runner.errors import Unsupported
from runner.results.columns import Row
from runner.results.reader import Run, read_run
from runner.timing import breakeven

NET = """
import torch


class Net(torch.nn.Module):
    batch_size = 2

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def get_example_inputs(self):
        return (torch.randn(2, 4),)

    def forward(self, x):
        y = self.linear(x)
        torch._dynamo.graph_break()
        return y.relu()
"""
OLD = "dev,name,batch_size,speedup,abs_latency\ncpu,Net,2,0.5,1.0\ncpu,Net,4,8.0,1.0\ncuda,Net,2,9.0,1.0\n"
MODEL = ("suite=module", "suite.path=net.py", "suite.class_name=Net", "backend=dynamo", "backend.name=eager")
FEW = (
    *("measure=quick", "measure.min_pairs=6", "measure.max_pairs=6", "measure.warmup_max_pairs=3", "measure.block=1"),
    *("measure.retry_unconverged=0", "device=cpu", "tag=mine", "hydra.run.dir=out"),
)
ASKED = ("cache=warm", "trace=true", "explain=true", "baseline=old.csv")


@pytest.fixture(scope="module")
def run(start: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A cell of which everything is asked."""
    folder = tmp_path_factory.mktemp("speedup")
    (folder / "net.py").write_text(NET)
    (folder / "old.csv").write_text(OLD)
    done = start(folder, *MODEL, *FEW, *(f"experiment.{word}" for word in ASKED))
    assert done.returncode == 0, done.stdout + done.stderr
    return read_run(folder / "out").runs[0]


@pytest.fixture
def row(run: Run) -> Row:
    """Its row."""
    (found,) = run.rows
    return found


def table(run: Run, name: str) -> list[dict[str, str]]:
    """A long table of the run."""
    with (run.directory / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_key_and_check(row: Row) -> None:
    """What identifies the row, as dynamobench's tables have it, and the verdict on the output."""
    assert [row[name] for name in ("dev", "name", "batch_size", "tag")] == ["cpu", "Net", 2, "mine"]
    assert (row["status"], row["accuracy"], row["reference"]) == ("ok", "pass", "fp64")


def test_baseline(row: Row) -> None:
    """The speedup of the same device, name and batch size in the other file, and the ratio."""
    assert row["baseline"] == 0.5
    assert row["speedup_vs_baseline"] == pytest.approx(row["speedup"] / 0.5)


def test_cold_and_warm_compile(row: Row) -> None:
    """Both starts were timed, and no word says that the second one failed."""
    assert row["compile_s"] > 0
    assert row["compile_warm_s"] > 0
    assert "warm_start_failed" not in (row["flags"] or "")


def test_what_dynamo_did(run: Run, row: Row) -> None:
    """One break, two graphs; where and how long is in the long tables; the summary line of explain is in the log."""
    assert (row["unique_graphs"], row["graph_breaks"], row["unique_graph_breaks"]) == (2, 1, 1)
    (broken,) = table(run, "graph_breaks")
    assert (broken["cell_id"], broken["name"], broken["count"]) == (row["cell_id"], "Net", "1")
    assert Path(broken["file"]).name == "net.py"
    phases = {one["phase"]: float(one["seconds"]) for one in table(run, "compile_metrics")}
    assert 0 < phases["_compile.compile_inner"] <= row["cell_s"]
    assert "Dynamo produced 2 graphs" in (run.directory / row["log"]).read_text()


def test_traces_of_both_sides(run: Run, row: Row) -> None:
    """Chrome's format, of a run that counts for nothing else."""
    for side in ("eager", "backend"):
        text = (run.directory / "artifacts" / row["cell_id"] / f"trace_{side}.json").read_text()
        assert any(event.get("name") == "aten::linear" for event in json.loads(text)["traceEvents"])


def test_a_trace_that_fails_costs_no_measurement(cli: Any, tmp_path: Path) -> None:
    """The row keeps its numbers and says that there is no trace; the log says why."""
    refusing = "assert not torch.autograd._profiler_enabled(), 'not while watched'"
    (tmp_path / "net.py").write_text(NET.replace("torch._dynamo.graph_break()", refusing))
    done = cli(*MODEL[:-2], "backend=eager", *FEW, "experiment.trace=true")
    assert done.returncode == 0, done.stderr
    (row,) = read_run(tmp_path / "out").rows
    assert (row["status"], row["n_pairs"]) == ("ok", 6)
    assert "trace_failed" in row["flags"].split(";")
    assert "not while watched" in (tmp_path / "out" / row["log"]).read_text()


def test_samples(run: Run, row: Row) -> None:
    """Raw times of every pair."""
    import numpy as np

    with np.load(run.directory / "samples" / f"{row['cell_id']}.npz") as samples:
        assert len(samples["tA_0"]) == len(samples["tB_0"]) == row["n_pairs"] == 6


def test_a_memory_history_that_the_cpu_does_not_keep(cli: Any, tmp_path: Path) -> None:
    """Refused before anything is planned, let alone measured."""
    done = cli("model=mlp", "device=cpu", "experiment.memory_snapshot=true")
    assert done.returncode == 2
    assert done.stderr == "experiment.memory_snapshot=true: torch keeps no memory history on cpu: give device=cuda\n"
    assert not list(tmp_path.iterdir())


def test_a_memory_history_that_another_device_does_not_keep() -> None:
    """The first thing a child looks at: nothing was run yet, and the row will be `unsupported`."""
    context: Any = SimpleNamespace(options={}, phase=lambda _phase: nullcontext(), device=SimpleNamespace(type="mps"))
    untouched: Any = None
    with pytest.raises(Unsupported, match="torch keeps no memory history on mps"):
        next(iter(Speedup(memory_snapshot=True).run(untouched, context)))


GOOD = {"status": "ok", "speedup_lo": 1.5, "eager_latency": 3.0, "abs_latency": 1.0}


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ({}, 500),
        ({"abs_latency": 2.9991}, 1111112),
        ({"speedup_lo": 1.0}, None),
        ({"speedup_lo": 0.9}, None),
        ({"speedup_lo": None}, None),
        ({"status": "wrong_output"}, None),
        ({"abs_latency": 3.5}, None),
    ],
    ids=["gain", "rounded up", "none", "slower", "unknown", "wrong", "medians say otherwise"],
)
def test_breakeven(values: Row, steps: int | None) -> None:
    """A second of compiling against what a step saves, where the interval says that it does."""
    assert breakeven({**GOOD, **values}, spent_s=1.0) == steps
