"""`python -m runner rerun`: cells from run.json once more, compared with what they were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from runner.errors import UsageError
from runner.rerun import find, limits_of, main
from runner.results.reader import read_run
from runner.worker.signals import Interrupted


@pytest.fixture(scope="module")
def first(start: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a small model, with a limit of its own."""
    folder = tmp_path_factory.mktemp("rerun") / "first"
    words = (
        "model=mlp",
        "backend=eager",
        "measure.max_pairs=10",
        "measure.retry_unconverged=0",
        "limits.load_s=77",
        f"hydra.run.dir={folder}",
    )
    assert start(folder.parent, *words).returncode == 0
    return folder


def copy(first: Path, folder: Path, **values: str) -> Path:
    """The run somewhere else, with other values in its only row."""
    target = folder / "copy"
    shutil.copytree(first, target)
    head, line = (first / "speedup.csv").read_text().splitlines()
    fields = line.split(",")
    for name, value in values.items():
        fields[head.split(",").index(name)] = value
    (target / "speedup.csv").write_text("\n".join([head, ",".join(fields), ""]))
    return target


def test_reproduced(first: Path, tmp_path: Path, start: Any) -> None:
    """The same cell in a new folder, with the old identity, is within the interval."""
    (old,) = read_run(copy(first, tmp_path, se_within="1.0")).runs
    done = start(tmp_path, "rerun", str(old.directory), "--cell", old.rows[0]["cell_id"], "--output", "again")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rerun: reproduced within the interval" in done.stdout
    (new,) = read_run(tmp_path / "again").runs
    assert new.record.cells == old.record.cells
    assert [row["status"] for row in new.rows] == ["ok"]
    assert new.rows[0]["command"] == old.rows[0]["command"]


def test_not_reproduced(first: Path, tmp_path: Path, start: Any) -> None:
    """A speedup that the machine does not give again is exit code 3, with what differs."""
    old = copy(first, tmp_path, speedup="1000000.0", se_within="0.01")
    done = start(tmp_path, "rerun", str(old))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "rerun: not reproduced" in done.stdout


def test_a_failure_that_fails_again(tmp_path: Path, start: Any, toys: tuple[str, str]) -> None:
    """Exit code 1, whatever it was before; plug-ins are found as in the first run."""
    words = ("suite=bad", "model=raises_in_forward", "experiment=toy", "backend=toy_backend")
    assert start(tmp_path, *toys, *words, "hydra.run.dir=old").returncode == 1
    done = start(tmp_path, "rerun", "old", "--output", "new")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "rerun: a cell failed" in done.stdout


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (Interrupted(15), 143)], ids=["early", "cell"])
def test_interrupted(stop: KeyboardInterrupt, code: int, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """Ctrl-C before the first cell ends it like one while a cell runs: quietly, with the signal's exit code."""

    def interrupted(*_: object) -> None:
        raise stop

    monkeypatch.setattr("runner.rerun.find", interrupted)
    assert main([str(tmp_path)]) == code
    assert capsys.readouterr().err == ""


def test_what_can_not_be_rerun(first: Path, tmp_path: Path, start: Any) -> None:
    """A folder that is not there, an unknown cell, an edited or foreign record, a used output: exit code 2."""
    edited = copy(first, tmp_path)
    text = json.loads((edited / "run.json").read_text())
    text["shared"]["seed"] = 12
    (edited / "run.json").write_text(json.dumps(text))
    for words, said in (
        (["nowhere"], "there is no such folder"),
        ([str(first), "--cell", "123"], "is in 0 of the runs"),
        ([str(edited)], "is not what was run"),
        ([str(first), "--output", str(first)], "holds the results of another run"),
    ):
        done = start(tmp_path, "rerun", *words)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_limits_are_those_of_the_run() -> None:
    """Limits are no part of a cell; the run's own overrides give them."""
    limits = limits_of(("model=mlp", "limits.load_s=77", "limits.log_bytes=1000"))
    assert (limits.load_s, limits.log_bytes, limits.cell_s) == (77.0, 1000, 1800.0)


def test_several_runs_need_a_choice(first: Path, tmp_path: Path) -> None:
    """A folder of many runs is refused unless the cell is in one of them alone."""
    for name in ("a", "b"):
        shutil.copytree(first, tmp_path / name)
    with pytest.raises(UsageError, match="holds 2 runs"):
        find(tmp_path, None)
    (run,) = read_run(first).runs
    with pytest.raises(UsageError, match="is in 2 of the runs"):
        find(tmp_path, run.rows[0]["cell_id"])
