"""Cells that span devices: two processes on the CPU, in step, whatever becomes of one of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from runner.parallel.progress import Marks
from runner.results.reader import read_run

NET = """
import os, signal, time
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x):
        if os.environ.get("RANK") == "1":
            if os.environ["HOW"] == "hang":
                time.sleep(1000)
            if os.environ["HOW"] == "die":
                os.kill(os.getpid(), signal.SIGSEGV)
            raise ValueError("not today")
        return self.linear(x)

    def get_example_inputs(self):
        return (torch.randn(2, 4),)
"""
BLOCKS = """
import torch

class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = torch.nn.Linear(width, width + 1)

    def forward(self, x):
        return self.linear(x).relu()

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.Sequential(*[Block(width) for width in range(4, 14)])

    def forward(self, x):
        return self.blocks(x)

    def get_example_inputs(self):
        return (torch.randn(2, 4),)
"""
TELLS = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.small = torch.nn.Linear(4, 4)
        self.large = torch.nn.Linear(4, 64)

    def forward(self, x):
        print(f"in {self.small.weight.dtype}, small is a {type(self.small).__name__}\\n", end="", flush=True)
        print(f"optimize_ddp is {torch._dynamo.config.optimize_ddp}\\n", end="", flush=True)
        return self.large(self.small(x).relu())

    def get_example_inputs(self):
        return (torch.randn(2, 4),)
"""
OWN = ("suite=module", "suite.path=net.py", "suite.class_name=Net", "backend=eager", "mode=training")
#: What a way is told beyond the dtype of its parameters, and what the model then says.
MORE_SETTINGS = (
    (("parallel=fsdp2", "parallel.wrap_policy=size", "parallel.min_params=20"), "small is a FSDPLinear"),
    (("parallel=fsdp2", "parallel.wrap_policy=none"), "torch.float32, small is a Linear"),
    (("parallel=ddp", "parallel.optimize_ddp=python_reducer"), "optimize_ddp is python_reducer"),
)
QUICK = ("measure=quick", "measure.max_time_s=1", "measure.retry_unconverged=0", "hydra.run.dir=out")


def only_row(folder: Path) -> dict[str, Any]:
    """The row of a run with one cell."""
    (row,) = read_run(folder).rows
    return row


def ranks(folder: Path) -> list[dict[str, str]]:
    """Rows of ranks.csv."""
    with (folder / "ranks.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_ddp(cli: Any, tmp_path: Path) -> None:
    """Both ranks train in step and agree; the row has the slowest's times and how far the ranks are apart."""
    done = cli("model=mlp", "batch_size=4", "parallel=ddp", "mode=training", "backend=eager", *QUICK)
    assert done.returncode == 0, done.stderr
    row = only_row(tmp_path / "out")
    assert (row["status"], row["parallel"], row["nproc"]) == ("ok", "ddp", 2), row
    assert (row["accuracy"], row["reference"]) == ("pass", "fp64")
    assert row["speedup"] > 0
    assert row["rank_spread_pct"] >= 0
    found = ranks(tmp_path / "out")
    assert [rank["rank"] for rank in found] == ["0", "1"]
    assert all(float(rank["abs_latency"]) > 0 for rank in found)


def test_fsdp2(cli: Any, tmp_path: Path) -> None:
    """A sharded model trains on both ranks, has no copy for a reference, and leaves each rank's trace."""
    words = ("model=mlp", "batch_size=4", "parallel=fsdp2", "mode=training", "backend=eager", "experiment.trace=true")
    done = cli(*words, *QUICK)
    assert done.returncode == 0, done.stderr
    row = only_row(tmp_path / "out")
    assert (row["status"], row["parallel"], row["nproc"]) == ("ok", "fsdp2", 2), row
    assert (row["accuracy"], row["reference"]) == ("pass", "none")
    found = [(rank["process"], rank["rank"], rank["status"]) for rank in ranks(tmp_path / "out")]
    assert found == [("0", "0", "ok"), ("0", "1", "ok"), ("", "0", "ok"), ("", "1", "ok")]
    folder = tmp_path / "out" / "artifacts" / row["cell_id"]
    for rank in (0, 1):
        for side in ("eager", "backend"):
            assert json.loads((folder / f"rank{rank}" / f"trace_{side}.json").read_text())["traceEvents"]


@pytest.fixture(scope="module")
def ways(start: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Rows by the way to spread a model; the transformer has layers that `tp` can split."""
    folder = tmp_path_factory.mktemp("ways")
    words = ("experiment=accuracy", "backend=eager", "model=transformer", "batch_size=1", "parallel=fsdp,tp,replicas")
    done = start(folder, "--multirun", *words, "hydra.sweep.dir=out")
    assert done.returncode == 0, done.stderr
    return {row["parallel"]: row for row in read_run(folder / "out").rows}


@pytest.mark.parametrize(("way", "reference"), [("fsdp", "none"), ("tp", "none"), ("replicas", "fp64")])
def test_right_in_inference(ways: dict[str, dict[str, Any]], way: str, reference: str) -> None:
    """The outputs of every rank are right; what is split over ranks has no reference in fp64."""
    row = ways[way]
    assert (row["status"], row["accuracy"], row["reference"]) == ("ok", "pass", reference), row


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("parallel=fsdp2", "parallel.param_dtype=bfloat16"), "torch.bfloat16, small is a Linear"),
        (("parallel=fsdp", "parallel.param_dtype=bfloat16"), "torch.bfloat16, small is a Linear"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE_SETTINGS),
    ],
)
def test_settings(cli: Any, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    """What a way to spread a model is told is what the model runs under, and its outputs are right."""
    (tmp_path / "net.py").write_text(TELLS)
    done = cli(*OWN, "experiment=accuracy", *words, "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    row = only_row(tmp_path / "out")
    assert (row["status"], row["accuracy"]) == ("ok", "pass"), row
    assert said in (tmp_path / "out" / row["log"]).read_text()


@pytest.mark.slow
def test_a_reducer_that_is_compiled(cli: Any, tmp_path: Path) -> None:
    """DDP's reduction in Python, which dynamo can trace, gives right gradients."""
    words = ("model=mlp", "batch_size=4", "mode=training", "backend=aot_eager", "experiment=accuracy")
    done = cli(*words, "parallel=ddp", "parallel.optimize_ddp=python_reducer", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    assert only_row(tmp_path / "out")["accuracy"] == "pass"


@pytest.mark.parametrize(
    ("how", "status", "error"),
    [
        ("die", "crashed", "rank 1 died of SIGSEGV"),
        ("hang", "timeout", "rank 1 is behind"),
        pytest.param("raise", "eager_error", "rank 1: not today", marks=pytest.mark.slow),
    ],
)
def test_a_rank_goes_wrong(cli: Any, tmp_path: Path, how: str, status: str, error: str) -> None:
    """The cell ends with the rank and what happened to it, and no process is left."""
    (tmp_path / "net.py").write_text(NET)
    done = cli(*OWN, "parallel=ddp", "limits.eager_s=3", "hydra.run.dir=out", env={"HOW": how, "LEFT": str(tmp_path)})
    assert done.returncode == 1, done.stderr
    row = only_row(tmp_path / "out")
    assert (row["status"], row["phase"]) == (status, "eager"), row
    assert error in row["error"]
    assert not left_over(tmp_path)


def left_over(mark: Path) -> list[int]:
    """Processes that were started with this value of the variable LEFT and still run."""
    found = []
    for process in psutil.process_iter():
        try:
            found += [process.pid] if process.environ().get("LEFT") == str(mark) else []
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_every_way(cli: Any, tmp_path: Path) -> None:
    """Each way to spread a model gives right outputs, in training and in inference."""
    words = ("experiment=accuracy", "backend=aot_eager", "model=transformer", "batch_size=2", "mode=training,inference")
    done = cli("--multirun", *words, "parallel=fsdp,fsdp2,tp,replicas", "hydra.sweep.dir=out", timeout=500)
    found = {(row["parallel"], row["mode"]): row for row in read_run(tmp_path / "out").rows}
    assert len(found) == 8
    assert {row["accuracy"] for row in found.values()} == {"pass"}, {k: r["error"] for k, r in found.items()}
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("way", ["fsdp", "fsdp2"])
def test_units_of_many_shapes(cli: Any, tmp_path: Path, way: str) -> None:
    """Each shape of a block is compiled, and none of them for sizes that vary."""
    (tmp_path / "net.py").write_text(BLOCKS)
    own = [word for word in OWN if not word.startswith("backend=")]
    done = cli(*own, f"parallel={way}", "backend=aot_eager", *QUICK)
    assert done.returncode == 0, done.stderr
    row = only_row(tmp_path / "out")
    assert (row["status"], row["unique_graphs"]) == ("ok", 10), row


def test_two_cells_at_once(cli: Any, tmp_path: Path) -> None:
    """Cells that run side by side on CPUs of their own don't meet on a port."""
    words = ("experiment=accuracy", "backend=eager", "model=mlp", "parallel=ddp", "device.cpus='0|1'", "seed=0,1")
    done = cli("--multirun", *words, "hydra/launcher=joblib", "hydra.sweep.dir=out")
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in read_run(tmp_path / "out").rows] == ["ok", "ok"]


def test_a_field_of_another_way(cli: Any) -> None:
    """`single` has no ranks, so to give their number is an error."""
    done = cli("parallel.nproc=2", "plan=true")
    assert done.returncode == 2
    assert "nproc" in done.stderr


def test_isolation_none_is_refused(cli: Any) -> None:
    """Ranks are processes of their own."""
    done = cli("model=mlp", "parallel=ddp", "isolation=none")
    assert done.returncode == 2
    assert "isolation" in done.stderr


def test_who_is_behind() -> None:
    """The ranks' counters say which one the others wait for, and where."""
    marks = Marks.make(2)
    first, second = marks.of(0), marks.of(1)
    first.step()
    second.step()
    assert marks.where() == "all ranks are at the same place in the forward of step 1"
    first.passed(None)
    assert marks.where() == "rank 1 is behind, in the forward of step 1; others are in the rest of step 1"
