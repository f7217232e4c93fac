"""Sweeps under joblib: the same rows, files and exit code as one job after the other."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def test_a_crash_costs_its_own_job(cli: Any, tmp_path: Path, bad_sweep: Any, statuses: Any) -> None:
    """Two jobs at a time, one of which crashes: a row each and exit code 1."""
    done = cli(*bad_sweep("joblib", "good_before,segfault"))
    assert done.returncode == 1, done.stderr
    assert statuses(tmp_path / "out") == {"good_before": "ok", "segfault": "crashed"}
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["jobs"] == 2
    assert "2 cells: 1 ok" in done.stdout
    threading = {name for name in recorded_variables(tmp_path / "out") if name.startswith(("OMP", "MKL", "KMP"))}
    assert threading <= set(os.environ)
    assert "Traceback" not in done.stderr
    assert "ConfigStore" not in done.stderr


def recorded_variables(folder: Path) -> set[str]:
    """Names of the environment variables that the jobs recorded: joblib sets some for its workers."""
    records = [json.loads(path.read_text()) for path in folder.glob("*/run.json")]
    return {name for record in records for name in record["environment"]["variables"]}


def test_bad_usage_in_a_job(cli: Any, toys: tuple[str, str], tmp_path: Path) -> None:
    """A job that can't be done is refused where it runs, and the whole sweep exits with 2."""
    words = ("--multirun", "suite=toy_suite", "experiment=toy_noop", "model=toy1", "isolation=none")
    done = cli(*toys, *words, "hydra/launcher=joblib", "measure.threads=1,9999", "hydra.sweep.dir=out")
    assert done.returncode == 2, done.stderr
    assert "measure.threads is 9999" in done.stderr
    assert (tmp_path / "out" / "sweep.csv").read_text().count(",ok,") == 1


def test_a_launcher_that_is_not_installed(cli: Any, toys: tuple[str, str]) -> None:
    """The sentence says which extra brings it."""
    done = cli(*toys, "--multirun", "experiment=toy_noop", "seed=0,1", "hydra/launcher=ray", "hydra.sweep.dir=out")
    assert done.returncode == 2
    assert "torch-benchmark-runner[ray]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_backend_for_all_jobs(cli: Any, tmp_path: Path) -> None:
    """What only torch can judge is judged once, before any job starts, in one sentence."""
    words = ("--multirun", "model=mlp", "seed=0,1", "backend=dynamo", "backend.name=eagr", "hydra/launcher=joblib")
    done = cli(*words, "hydra.sweep.dir=out")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "No dynamo backend named 'eagr'" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []
