"""run.json and sweep.json."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from runner.errors import UsageError
from runner.results import run as run_module
from runner.results.columns import Column, Status, header
from runner.results.run import FORMAT, RunRecord, SweepRecord, claimed, record_sweep
from runner.results.writer import WriteError

RECORD = RunRecord(
    experiment="speedup",
    cells={
        "b" * 12: {"model": {"name": "b"}, "seed": 1, "limit": 1.0, "measure": {"x": None}},
        "a" * 12: {"model": {"name": "a/'\n"}, "seed": 1, "limit": 1, "measure": {"x": None}},
    },
    columns=header((Column("speedup", float, "x", "ratio", headline=True),)),
    command=("suite=demo",),
    overrides=("suite=demo", "tag=x y"),
    planned={"a" * 12: {"status": Status.SKIPPED, "error": "why"}},
    tables={"graph_breaks": (Column("reason", str, "", "reason"),)},
    summary=("speedup",),
    environment={"torch": None},
    env_id="0" * 12,
    job=3,
)


def test_round_trip(tmp_path: Path) -> None:
    """What is loaded is what was written, in the cells' order, with time and working directory."""
    written = RECORD.write(tmp_path / "new")
    loaded = RunRecord.load(tmp_path / "new")
    assert loaded == written
    assert list(loaded.cells) == list(RECORD.cells)
    assert loaded.cwd == str(Path.cwd())
    assert loaded.started[:2] == "20"
    assert loaded.name("a" * 12) == "a/'\n"


def test_types_survive_sharing(tmp_path: Path) -> None:
    """1 and 1.0 are equal and yet another configuration: only what is written alike is shared."""
    RECORD.write(tmp_path)
    data = json.loads((tmp_path / "run.json").read_text())
    assert data["shared"] == {"seed": 1, "measure": {"x": None}}
    limits = [cell["limit"] for cell in RunRecord.load(tmp_path).cells.values()]
    assert [type(limit) for limit in limits] == [float, int]


def test_never_overwritten(tmp_path: Path) -> None:
    """A second run in the same folder is refused and changes nothing, and no temporary file stays."""
    RECORD.write(tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(UsageError, match="holds the results of another run"):
        replace(RECORD, experiment="other").write(tmp_path)
    assert (tmp_path / "run.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_unwritable(tmp_path: Path) -> None:
    """A folder that can't be made is a WriteError."""
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="can't write"):
        RECORD.write(tmp_path / "file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no results: it has no run.json"),
        ("{", "isn't the record of a run"),
        ("[]", "isn't the record of a run"),
        ('{"a": 1}', "isn't the record of a run"),
        (json.dumps({"format": FORMAT + 1}), "use a newer runner"),
    ],
)
def test_unreadable_records(tmp_path: Path, content: str | None, message: str) -> None:
    """No record, a damaged or foreign one, and one of a future version are each one clear sentence."""
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        RunRecord.load(tmp_path)


@pytest.mark.parametrize("name", ["pending", "sweep", "graph_breaks"])
def test_taken_names(name: str) -> None:
    """An experiment can't write a file that something else writes."""
    with pytest.raises(ValueError, match=f"no experiment or table can write {name}.csv"):
        replace(RECORD, experiment=name)


def test_sweep(tmp_path: Path) -> None:
    """A sweep's command is recorded once."""
    record_sweep(tmp_path, ["--multirun", "model=a,b"], Path("/somewhere"))
    loaded = SweepRecord.load(tmp_path)
    assert (loaded.command, loaded.cwd) == (("--multirun", "model=a,b"), "/somewhere")
    with pytest.raises(UsageError, match="another run"):
        record_sweep(tmp_path, [], Path("/"))


def test_half_a_record_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies while writing its record leaves none."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module.os, "link", die)
    with pytest.raises(KeyboardInterrupt):
        RECORD.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """While a process writes in a folder no other one may, and after its death, by SIGKILL too, the next one may."""
    program = "import sys, time; from pathlib import Path; from runner.results.run import claimed\n"
    program += "with claimed(Path(sys.argv[1])): print(flush=True); time.sleep(600)"
    holder = subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder.stdout:
        holder.stdout.readline()
        with pytest.raises(UsageError, match="in use by another process"), claimed(tmp_path):
            pass
        holder.kill()
        holder.wait()
    with claimed(tmp_path):
        pass
