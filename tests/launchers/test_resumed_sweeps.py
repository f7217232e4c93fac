"""`resume` after a sweep lost jobs: the same under every launcher, which the sweep's record brings along."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from runner.results.reader import read_run

LAUNCHERS = ("joblib", pytest.param("submitit_local", marks=pytest.mark.services))
#: Ray's daemons are no children of ours to be killed.
ALL = (*LAUNCHERS, pytest.param("ray", marks=pytest.mark.ray))


@pytest.fixture(autouse=True)
def _short_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's sockets are in a folder whose path must be short."""
    monkeypatch.setenv("RAY_TMPDIR", tempfile.gettempdir())


@pytest.mark.parametrize("launcher", ALL)
def test_a_lost_job(cli: Any, tmp_path: Path, toys: tuple[str, str], statuses: Any, launcher: str) -> None:
    """A job whose folder is gone runs again, the other ones' rows stay, and sweep.csv has each once."""
    words = ("suite=toy_suite", "experiment=toy_noop", "isolation=none", "model=toy1,toy2,toy_hidden")
    done = cli(*toys, "--multirun", *words, f"hydra/launcher={launcher}", "hydra.sweep.dir=out")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    (lost,) = out.glob("*model=toy1,*")
    shutil.rmtree(lost)
    kept = rows(out)
    done = cli("resume", "out")
    assert done.returncode == 0, done.stderr
    assert statuses(out) == {"toy1": "ok", "toy2": "skipped", "toy_hidden": "ok"}
    assert [row for row in rows(out) if row["name"] != "toy1"] == kept


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_everything_is_killed(
    start: Any, tmp_path: Path, bad_sweep: Any, statuses: Any, wait_for: Callable[..., None], launcher: str
) -> None:
    """After a kill of the launching process and its jobs, `resume` runs the cell that had not ended, and only that."""
    out = tmp_path / "out"
    words = bad_sweep(launcher, "good_before,hangs", "device.cpus='0|1'", "limits.eager_s=8")
    with start.background(tmp_path, *words) as process:
        wait_for(lambda: [row["name"] for row in rows(out)] == ["good_before"] and has_begun(out, "hangs"))
        kill_all(process.pid)
    kept = rows(out)
    again = start(tmp_path, "resume", "out")
    assert again.returncode == 1, again.stderr
    assert statuses(out) == {"good_before": "ok", "hangs": "timeout"}
    assert [row for row in rows(out) if row["name"] == "good_before"] == kept


def rows(out: Path) -> list[dict[str, Any]]:
    """Rows of the jobs so far."""
    return [dict(row) for row in read_run(out).rows] if any(out.glob("*/run.json")) else []


def has_begun(out: Path, model: str) -> bool:
    """Whether the model's job has a cell under way."""
    return any("hanging" in log.read_text() for log in out.glob(f"*model={model},*/logs/*.log"))


def kill_all(pid: int) -> None:
    """Kill a process with all that it started, as a machine that goes down."""
    parent = psutil.Process(pid)
    for process in (parent, *parent.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
