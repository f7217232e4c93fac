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
    start_env = start.environment
    start.environment = lambda extra=None: start_env({**cluster, **(extra or {})})
    try:
        with start.background(tmp_path, *words) as process:
            wait_for(lambda: has_begun(out, "hangs"))
            array = slurm.said("squeue", "--noheader", "--array", "--format=%A %F", env=cluster).split()[-1]
            slurm.said("scancel", f"{array}_2", env=cluster)
            wait_for(lambda: has_begun(out, "hangs_deaf"))
            kill_task(3)
            assert process.wait(timeout=120) == 1, (tmp_path / "err.txt").read_text()
    finally:
        start.environment = start_env
    assert statuses(out) == {"good_before": "ok", "segfault": "crashed", "hangs": "interrupted"}
    assert "left no result" in (tmp_path / "err.txt").read_text()
    again = start(tmp_path, "resume", "out", env=cluster)
    assert again.returncode == 1, again.stderr
    expected = {"good_before": "ok", "segfault": "crashed", "hangs": "timeout", "hangs_deaf": "timeout"}
    assert statuses(out) == expected


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
