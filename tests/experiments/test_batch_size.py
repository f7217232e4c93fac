"""The search for the largest batch that fits: its steps, what ends it, and a real one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from experiments.batch_size import BatchSize, Search
from runner.batch_sizes import LARGEST
from runner.cells import Cell
from runner.errors import UsageError
from runner.experiment import Outcome
from runner.results.columns import Status
from runner.results.reader import read_run

NET = """
import torch


class Net(torch.nn.Module):
    def __init__(self, batch_size=4):
        super().__init__()
        self.batch_size = batch_size
        self.weight = torch.nn.Parameter(torch.ones(1))

    def get_example_inputs(self):
        return (torch.ones(self.batch_size, 1),)

    def forward(self, x):
        if FAILS(len(x)):
            raise FAILURE
        return (x * self.weight).expand(-1, 5_000_000).contiguous().sum(1)
"""


def search(fits: int, limit: int = 1 << 16, start: int = 2, worse: Status = Status.OOM, resolution: float = 0.01) -> Search:
    """A finished search on a device where `fits` samples fit; larger batches end with `worse`."""
    found = Search(limit, resolution, start)
    while (size := found.next()) is not None:
        assert len(found.tries) < 50
        status = Status.OK if size <= fits else worse
        found.add(size, Outcome(status, values={"batch_size": size} if status is Status.OK else {}))
    return found


@pytest.mark.parametrize("fits", [1, 2, 3, 7, 8, 61, 64, 1000])
@pytest.mark.parametrize("start", [1, 2, 32])
def test_the_largest_is_found(fits: int, start: int) -> None:
    """From below or from above, to within a hundredth."""
    row = search(fits, start=start).row()
    assert fits - max(1, fits // 100) <= row[LARGEST] <= fits or row[LARGEST] == fits
    assert (row["bound"], row["status"], row["batch_size"]) == ("oom", "ok", row[LARGEST])


def test_the_limit_ends_it() -> None:
    """Nothing above it is tried; that it was reached is said."""
    row = search(10**9, limit=100).row()
    assert (row[LARGEST], row["bound"]) == (100, "limit")
    assert row["tries"].split(";")[-2:] == ["64=ok", "100=ok"]


def test_nothing_fits() -> None:
    """The row is that of the try with one sample."""
    row = search(0, start=8).row()
    assert (row["status"], row.get(LARGEST), row["tries"]) == ("oom", None, "8=oom;4=oom;2=oom;1=oom")


def test_another_failure_at_first_is_final() -> None:
    """A model that can't run at all is not searched; one that fails at a larger size is."""
    broken = search(0, worse=Status.RUN_ERROR)
    assert (broken.tries, broken.row()["status"]) == (["2=run_error"], "run_error")
    assert search(5, worse=Status.RUN_ERROR).row()[LARGEST] == 5


def test_an_interruption_is_no_answer() -> None:
    """The row is the interrupted one, and resume takes it up."""
    row = search(5, worse=Status.INTERRUPTED).row()
    assert (row["status"], row["tries"]) == ("interrupted", "2=ok;4=ok;8=interrupted")


def test_a_start_above_the_limit_is_refused() -> None:
    """One sentence with both numbers, where the command gave it; a model's own batch size is no mistake of the user's."""
    cells = [Cell({"model": {"name": "m"}, "batch_size": 8})]
    with pytest.raises(UsageError, match=r"batch_size=8 is above experiment\.limit=4: "):
        BatchSize(limit=4).gather(cells, {"batch_size": 8})
    assert BatchSize(limit=4).gather(cells, {"batch_size": "suite"}) == cells


@pytest.mark.parametrize(("given", "start"), [(8, 8), (None, 2), (1024, 16)])
def test_where_the_search_starts(given: int | None, start: int) -> None:
    """At the batch size that was given or is the model's own, else at two samples; never above the limit."""
    first = next(BatchSize(limit=16).attempts(Cell({"model": {"name": "m"}, "batch_size": given})))
    assert first.cell.config["batch_size"] == start


def run(cli: Any, tmp_path: Path, fails: str, failure: str, *more: str, **how: Any) -> dict[str, Any]:
    """The row of a model that raises FAILURE where FAILS."""
    (tmp_path / "net.py").write_text(NET.replace("FAILS(len(x))", fails).replace("FAILURE", failure))
    words = ("suite=module", "suite.path=net.py", "suite.class_name=Net", "experiment=batch_size", "hydra.run.dir=out")
    done = cli(*words, "device=cpu", *more, **how)
    rows = read_run(tmp_path / "out").rows
    assert len(rows) == 1, done.stderr
    return rows[0]


def test_memory_that_runs_out(cli: Any, tmp_path: Path) -> None:
    """Tries on the CPU get a part of the free memory; the answer can be used as a file of batch sizes."""
    row = run(cli, tmp_path, "False", "None", "experiment.host_memory=0.02", "experiment.limit=64", "experiment.resolution=1")
    assert row["status"] == "ok", row
    assert 1 <= row[LARGEST] < 64
    assert row["bound"] == "oom"
    assert row["peak_mem"] > 0
    words = ("suite=module", "suite.path=net.py", "suite.class_name=Net", "precision=fp32", "plan=true", "device=cpu")
    done = cli(*words, "select.batch_size_file=out/batch_size.csv")
    assert f"Net   {row[LARGEST]} " in done.stdout, done.stdout + done.stderr


def test_a_device_out_of_memory(cli: Any, tmp_path: Path) -> None:
    """The device's own error counts as memory, whatever raised it."""
    row = run(cli, tmp_path, "len(x) > 3", "torch.OutOfMemoryError('CUDA out of memory')", "experiment.limit=16")
    assert (row["status"], row[LARGEST], row["bound"]) == ("ok", 3, "oom")
    assert row["tries"] == "2=ok;4=oom;3=ok"


COUNTER = """
import os

from runner.worker import kernel

kernel.oom_kills = lambda: os.stat({path!r}).st_size
"""


@pytest.mark.parametrize(("counted", "bound"), [(True, "oom"), (False, "crashed")])
def test_a_kill_is_an_answer(cli: Any, tmp_path: Path, counted: bool, bound: str) -> None:
    """A try that ends by SIGKILL does not end the search: `oom` where the kernel counts it as its own, else `crashed`."""
    count = tmp_path / "kills"
    count.write_text("")
    (tmp_path / "sitecustomize.py").write_text(COUNTER.format(path=str(count)))  # the counter of the memory cgroup
    noted = f"open({str(count)!r}, 'a').write('1'), " if counted else ""
    kill = f"({noted}__import__('os').kill(__import__('os').getpid(), 9))"
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    row = run(cli, tmp_path, "len(x) > 3", kill, "experiment.limit=16", env={"PYTHONPATH": path})
    assert (row["status"], row[LARGEST], row["bound"]) == ("ok", 3, bound), row
    assert row["tries"] == f"2=ok;4={bound};3=ok"


def test_a_model_with_a_batch_size_of_its_own(cli: Any, tmp_path: Path) -> None:
    """One that ignores the batch size is unsupported."""
    (tmp_path / "fixed.py").write_text(NET.replace("batch_size=4", "batch_size").replace("= batch_size", "= 4").replace("FAILS(len(x))", "False").replace("FAILURE", "None"))
    words = ("suite=module", "suite.path=fixed.py", "suite.class_name=Net", "experiment=batch_size", "hydra.run.dir=out")
    cli(*words, "device=cpu")
    row = read_run(tmp_path / "out").rows[0]
    assert (row["status"], "fixed batch size of 4" in row["error"]) == ("unsupported", True)
