"""The whole path on an accelerator: `pytest -m gpu` on a machine that has one."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.devices import detect
from runner.results.columns import Row
from runner.results.reader import read_run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not detect.visible("cuda"), reason="needs a CUDA device"),
]
two_devices = pytest.mark.skipif(len(detect.visible("cuda")) < 2, reason="needs two CUDA devices")


@pytest.fixture(scope="module")
def rows(start, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """One run of the demo suite in training with amp, and its rows by name."""
    return run(start, tmp_path_factory.mktemp("demo"), "mode=training", "precision=amp_bf16")


def run(start, folder: Path, *arguments: str) -> dict[str, Row]:
    """Rows by name of a run on CUDA that must succeed."""
    done = start(folder, "device=cuda", *arguments, f"hydra.run.dir={folder / 'run'}", timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return {row["name"]: row for row in read_run(folder / "run").rows}


def test_every_forked_child_uses_the_device(rows: dict[str, Row]):
    """Three cells come from one server, and each initialises CUDA for itself."""
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert {row["isolation"] for row in rows.values()} == {"fork"}


def test_the_row_names_the_physical_device(rows: dict[str, Row]):
    """UUID and name come from the driver."""
    assert all(row["device_uuid"].startswith("GPU-") and row["device_name"] for row in rows.values())


def test_events_stand_beside_the_wall_clock(rows: dict[str, Row]):
    """Both clocks see the same blocks, so neither is far from the other."""
    for row in rows.values():
        assert 0 < row["device_ms_b"] <= 1.1 * row["abs_latency"]


def test_prewarmed_code_is_the_same(start, tmp_path: Path):
    """One thread compiles beforehand and several do when cold, in another folder; the code doesn't depend on it."""
    words = ("model=mlp", "measure=quick", "measure.retry_unconverged=0")
    found = []
    for name, more in {"cold": (), "prewarmed": ("prewarm=1",)}.items():
        (tmp_path / name).mkdir()
        found.append(run(start, tmp_path / name, *words, *more)["mlp"])
    assert [row["cache"] for row in found] == ["cold", "prewarmed"]
    assert found[0]["kernels"] == found[1]["kernels"] != ""


@pytest.mark.models
def test_launches_that_the_device_waits_for(start, tmp_path: Path):
    """A network of tiny layers leaves it idle most of the time, large convolutions hardly ever."""
    rows = []
    for name in ("lennard_jones", "vgg16"):
        (tmp_path / name).mkdir()
        rows.append(run(start, tmp_path / name, "suite=torchbench", f"model={name}")[name])
    tiny, large = rows
    assert tiny["launch_bound"] in ("a", "both")
    assert tiny["busy_a_pct"] < 60
    assert large["launch_bound"] == "none"
    assert 90 < large["busy_a_pct"] < 110
    assert large["device_ms_a"] == pytest.approx(large["eager_latency"], rel=0.1)


def test_peak_memory_is_the_devices_counter(rows: dict[str, Row]):
    """The weights are part of it."""
    assert all(row["eager_peak_mem"] > 0 and row["dynamo_peak_mem"] > 0 for row in rows.values())


def test_cuda_graphs_run_and_are_right(start, tmp_path: Path):
    """CUDA graphs are asked for, none is skipped, and the outputs agree."""
    row = run(start, tmp_path, "model=mlp", "backend.cudagraphs=true")["mlp"]
    assert (row["accuracy"], row["cudagraph_skips"]) == ("pass", 0)


def test_the_dynamo_backend_cudagraphs(start, tmp_path: Path):
    """The backend of that name works as well."""
    assert run(start, tmp_path, "model=mlp", "backend=cudagraphs")["mlp"]["accuracy"] == "pass"


def test_a_memory_snapshot_is_kept(start, tmp_path: Path):
    """One file for each side lies in the cell's artifacts."""
    row = run(start, tmp_path, "model=mlp", "experiment.memory_snapshot=true", "experiment.trace=true")["mlp"]
    found = {path.name for path in (tmp_path / "run" / "artifacts" / row["cell_id"]).iterdir()}
    assert {"memory_eager.pickle", "memory_backend.pickle", "trace_backend.json"} <= found


GREEDY = """
import torch

class Net(torch.nn.Module):
    def get_example_inputs(self):
        return (torch.ones(1),)

    def forward(self, x):
        return torch.empty(1 << 42, dtype=torch.uint8, device=x.device)
"""


def test_running_out_of_device_memory_is_a_row(start, tmp_path: Path):
    """A model that asks for more than any GPU has ends as oom, with the phase in which it happened."""
    (tmp_path / "net.py").write_text(GREEDY)
    words = ("suite=module", "suite.path=net.py", "suite.class_name=Net", f"hydra.run.dir={tmp_path / 'run'}")
    done = start(tmp_path, "device=cuda", *words, timeout=500)
    (row,) = read_run(tmp_path / "run").rows
    assert (done.returncode, row["status"], row["phase"]) == (1, "oom", "eager")


def test_selftest_on_the_device(start, tmp_path: Path):
    """The certificate can be made on an accelerator."""
    row = run(start, tmp_path, "experiment=selftest", "experiment.repeats=5")["same_callable"]
    assert row["repeats"] == 5


def test_a_fresh_interpreter_per_cell(start, tmp_path: Path):
    """isolation=spawn works on the device too."""
    assert run(start, tmp_path, "model=mlp", "isolation=spawn")["mlp"]["status"] == "ok"


LARGE = """
import torch

class Net(torch.nn.Module):
    def __init__(self, batch_size=1):
        super().__init__()
        self.batch_size = batch_size

    def get_example_inputs(self):
        return (torch.ones(self.batch_size, 1),)

    def forward(self, x):
        share = torch.cuda.get_device_properties(x.device).total_memory * 2 // 5
        return x + torch.empty(len(x), share, dtype=torch.uint8, device=x.device).shape[1]
"""


def test_the_largest_batch(start, tmp_path: Path):
    """Two samples of two fifths of the memory fit, four don't: the allocator says so, and the search ends."""
    (tmp_path / "net.py").write_text(LARGE)
    words = ("suite=module", "suite.path=net.py", "suite.class_name=Net", "experiment=batch_size")
    row = run(start, tmp_path, *words, "experiment.resolution=1")["Net"]
    assert (row["largest_batch_size"], row["bound"], row["tries"]) == (2, "oom", "2=ok;4=oom")


def sweep(start, folder: Path, *arguments: str) -> list[Row]:
    """Rows of a sweep of mlp on CUDA that must succeed."""
    words = ("--multirun", "device=cuda", "model=mlp", "measure=quick", "measure.retry_unconverged=0")
    done = start(folder, *words, *arguments, f"hydra.sweep.dir={folder / 'sweep'}", timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return list(read_run(folder / "sweep").rows)


@two_devices
def test_two_devices_in_step(start, tmp_path: Path):
    """DDP and FSDP train on both, through NCCL, and every rank's results are right."""
    rows = sweep(start, tmp_path, "parallel=ddp,fsdp", "parallel.nproc=2", "mode=training")
    assert {row["parallel"]: (row["status"], row["accuracy"], row["nproc"]) for row in rows} == {
        "ddp": ("ok", "pass", 2),
        "fsdp": ("ok", "pass", 2),
    }


@two_devices
def test_two_jobs_have_a_device_each(start, tmp_path: Path):
    """Jobs that run at the same time lease different ones."""
    rows = sweep(start, tmp_path, "hydra/launcher=joblib", "seed=0,1")
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert len({row["device_uuid"] for row in rows}) == 2
