"""Sweeps under submitit: as jobs of a real Slurm, and on this machine without one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import slurm

from runner.results.reader import read_rows, read_run

pytestmark = pytest.mark.services
QUICK = ("limits.eager_s=20", "hydra.launcher.mem_gb=1", "hydra.launcher.timeout_min=10")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A cluster of this machine; its variables."""
    absent = slurm.missing()
    if absent:
        pytest.skip(f"needs {', '.join(absent)}: apt-get install slurm-wlm munge")
    with slurm.cluster(tmp_path_factory.mktemp("slurm")) as env:
        yield env


def test_a_sweep_as_an_array(
    start: Any, cluster: dict[str, str], tmp_path: Path, bad_sweep: Any, statuses: Any, wait_for: Callable[..., None]
) -> None:
    """A crash and a cancelled job are rows, a job whose processes vanish leaves none; `resume` does the rest."""
    out = tmp_path / "out"
    words = bad_sweep("submitit_slurm", "good_before,segfault,hangs,hangs_deaf", *QUICK)
    with on(start, cluster), start.background(tmp_path, *words) as process:
        wait_for(lambda: has_begun(out, "hangs"))
        array = slurm.said("squeue", "--noheader", "--array", "--format=%A %F", env=cluster).split()[-1]
        slurm.said("scancel", f"{array}_2", env=cluster)
        wait_for(lambda: has_begun(out, "hangs_deaf"))
        kill_task(3)
        assert process.wait(timeout=120) == 1, (tmp_path / "err.txt").read_text()
    assert statuses(out) == {"good_before": "ok", "segfault": "crashed", "hangs": "interrupted"}
    assert "left no result" in (tmp_path / "err.txt").read_text()
    again = start(tmp_path, "resume", "out", env=cluster)
    assert again.returncode == 1, again.stderr
    expected = {"good_before": "ok", "segfault": "crashed", "hangs": "timeout", "hangs_deaf": "timeout"}
    assert statuses(out) == expected


#: One job of three cells, of which the second one hangs.
THREE = ('select.include=["^good_before$","^hangs$","^good_after$"]', *QUICK)


def test_the_time_is_nearly_up(
    start: Any, cluster: dict[str, str], tmp_path: Path, bad_sweep: Any, statuses: Any, wait_for: Callable[..., None]
) -> None:
    """After the signal that Slurm sends beforehand each cell has its row, and `resume` runs what was interrupted."""
    out = tmp_path / "out"
    with on(start, cluster), start.background(tmp_path, *bad_sweep("submitit_slurm", "all", *THREE)) as process:
        wait_for(lambda: hangs(out))
        slurm.said("scancel", "--signal=USR2", running(cluster), env=cluster)
        assert process.wait(timeout=120) == 1, (tmp_path / "err.txt").read_text()
    assert statuses(out) == {"good_before": "ok", "hangs": "interrupted", "good_after": "interrupted"}
    again = start(tmp_path, "resume", "out", env=cluster)
    assert again.returncode == 1, again.stderr
    assert statuses(out) == {"good_before": "ok", "hangs": "timeout", "good_after": "ok"}


def test_put_into_the_queue_again(
    start: Any, cluster: dict[str, str], tmp_path: Path, bad_sweep: Any, statuses: Any, wait_for: Callable[..., None]
) -> None:
    """The job goes on where it was, though nobody waits for it any more: finished rows stay, every cell has one."""
    out = tmp_path / "out"
    with on(start, cluster), start.background(tmp_path, *bad_sweep("submitit_slurm", "all", *THREE)) as process:
        wait_for(lambda: hangs(out))
        (first,) = read_run(out).rows
        slurm.said("scontrol", "requeue", running(cluster), env=cluster)
        assert process.wait(timeout=120) == 1, (tmp_path / "err.txt").read_text()
        wait_for(lambda: [row["status"] for row in read_rows(out / "sweep.csv")] == ["ok", "timeout", "ok"])
        wait_for(lambda: not slurm.said("squeue", "--noheader", env=cluster))
    assert statuses(out) == {"good_before": "ok", "hangs": "timeout", "good_after": "ok"}
    assert read_run(out).rows[0] == first


@contextlib.contextmanager
def on(start: Any, cluster: dict[str, str]) -> Iterator[None]:
    """Let what `start` starts in the background find the cluster."""
    before = start.environment
    start.environment = lambda extra=None: before({**cluster, **(extra or {})})
    try:
        yield
    finally:
        start.environment = before


def running(cluster: dict[str, str]) -> str:
    """The number of the one job in the queue."""
    (job,) = slurm.said("squeue", "--noheader", "--array", "--format=%i", env=cluster).split()
    return job


def hangs(out: Path) -> bool:
    """Whether a cell has come to the point from where it doesn't go on."""
    return any("hanging" in log.read_text() for log in out.glob("*/logs/*.log"))


def kill_task(number: int) -> None:
    """Kill the process of one job of the array, as the kernel would for want of memory."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ours = "submitit.core._submit" in process.cmdline() and process.name().startswith("python")
            if ours and process.environ().get("SLURM_ARRAY_TASK_ID") == str(number):
                process.kill()


def has_begun(out: Path, model: str) -> bool:
    """Whether the model's job has a cell under way."""
    return any(out.glob(f"*model={model},*/logs/*.log"))


def test_submitit_without_slurm(cli: Any, tmp_path: Path, bad_sweep: Any, statuses: Any) -> None:
    """The same on this machine, two jobs at a time."""
    done = cli(*bad_sweep("submitit_local", "good_before,segfault,raises_in_forward"))
    assert done.returncode == 1, done.stderr
    expected = {"good_before": "ok", "segfault": "crashed", "raises_in_forward": "eager_error"}
    assert statuses(tmp_path / "out") == expected
    assert "Traceback" not in done.stderr
