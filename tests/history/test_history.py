"""The history on the command line, in SQLite and on a PostgreSQL server."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.speedup import Speedup
from runner.cells import Cell
from runner.history.command import main
from runner.results.columns import header
from runner.results.files import RunFiles
from runner.results.run import RunRecord

CONFIG: dict[str, Any] = {
    "choices": {
        "suite": "demo",
        "experiment": "speedup",
        "backend": "inductor",
        "precision": "fp32",
        "mode": "inference",
    },
    "experiment": {"_target_": "experiments.speedup.Speedup"},
    "device": {"type": "cpu"},
    "measure": {"rel_ci": 0.02},
    "seed": 0,
}


def write(folder: Path, day: int, rows: dict[str, dict[str, Any]], **config: Any) -> Path:
    """A run of that day with a row for each model."""
    cells = {name: Cell({**CONFIG, **config, "model": {"name": name}}) for name in rows}
    started = f"2026-{1 + day // 28:02d}-{1 + day % 28:02d}T06:00:00+02:00"
    project = {"commit": f"{day:04d}{0:036d}", "dirty": False}
    environment = {"torch": {"version": "2.13.0"}, "git": {"project": project}, "host": "node1"}
    record = RunRecord(
        "speedup",
        {cell.cell_id: cell.config for cell in cells.values()},
        header(Speedup.columns),
        environment=environment,
        started=started,
    )
    files = RunFiles(folder, record.write(folder))
    usual = {"status": "ok", "se_within": 0.01, "n_processes": 1, "device_name": "CPU", "threads": 2}
    files.rows.append(*({**cells[name].row(), **usual, **row} for name, row in rows.items()))
    return folder


@pytest.fixture(scope="module")
def nightly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 nights of two models; from night 25 on, one of them is 10 % slower."""
    top = tmp_path_factory.mktemp("nightly")
    noise = np.random.default_rng(0).normal(0, 0.012, (40, 2))
    for day in range(40):
        slow = math.exp(0.4 + noise[day, 0]) * (0.9 if day >= 25 else 1.0)
        write(
            top / f"{day:02d}", day, {"slows": {"speedup": slow}, "stays": {"speedup": math.exp(0.2 + noise[day, 1])}}
        )
    return top


@pytest.fixture
def ask(capsys: Any) -> Any:
    """Run a history command; returns exit code, standard output, standard error."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def exercise(ask: Any, nightly: Path, db: str) -> None:
    """All that a history does, on any database."""
    code, out, err = ask("add", nightly, "--db", db)
    assert (code, err) == (0, "")
    assert "80 results added, 0 were there already; it holds 40 runs, 2 series, 80 results" in out
    assert "secret" not in out
    assert "0 results added, 82 were there already" in ask("add", nightly, nightly / "07", "--db", db)[1]
    code, out, _ = ask("detect", "--db", db)
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith("slows")]
    assert "regressed -10" in line or "regressed -9" in line
    assert "commit 002400000000) and 2026-01-26T04:00:00+00:00 (torch 2.13.0, commit 0025" in line
    assert out.splitlines()[-1].startswith("1 steps of at least 3 % in 2 series")
    assert "0 steps" in ask("detect", "sta*", "--db", db)[1]
    shown = ask("show", "slows", "--last", "3", "--db", db)[1].splitlines()
    assert shown[0] == "slows: demo speedup inductor cpu fp32 inference, CPU"
    assert "37 earlier" in shown[1]
    assert len([line for line in shown if "torch 2.13.0" in line]) == 3
    assert shown[-2].endswith(str(nightly / "39"))
    assert "█" in ask("plot", "s*", "--db", db)[1]


def test_sqlite(ask: Any, nightly: Path, tmp_path: Path) -> None:
    """A file is all that it takes."""
    exercise(ask, nightly, str(tmp_path / "history.sqlite"))


def test_a_moved_run_is_the_same_run(ask: Any, nightly: Path, tmp_path: Path) -> None:
    """A run is known by its record, wherever its folder lies."""
    db = str(tmp_path / "h.sqlite")
    ask("add", nightly / "00", "--db", db)
    shutil.copytree(nightly / "00", tmp_path / "moved")
    assert "0 results added, 2 were there" in ask("add", tmp_path / "moved", "--db", db)[1]


def test_a_resumed_run_replaces_its_failures(ask: Any, tmp_path: Path) -> None:
    """Interrupted rows are not kept; a failed one gives way to the one that a resume made."""
    db, folder = str(tmp_path / "h.sqlite"), tmp_path / "run"
    write(folder, 0, {"a": {"status": "run_error"}, "b": {"status": "interrupted"}})
    assert "1 results added" in ask("add", folder, "--db", db)[1]
    text = (folder / "speedup.csv").read_text()
    (folder / "speedup.csv").write_text(text.replace("run_error", "ok").replace("interrupted", "ok"))
    assert "1 results added, 1 were there already" in ask("add", folder, "--db", db)[1]
    assert "run_error" not in ask("show", "a", "--db", db)[1]


def test_other_options_are_another_series(ask: Any, tmp_path: Path) -> None:
    """A backend's options make another series, how it was measured does not."""
    db = str(tmp_path / "h.sqlite")
    write(tmp_path / "1", 0, {"a": {"speedup": 1.5}})
    write(tmp_path / "2", 1, {"a": {"speedup": 1.5}}, measure={"rel_ci": 0.01})
    write(tmp_path / "3", 2, {"a": {"speedup": 1.5}}, backend={"fullgraph": True})
    assert "3 runs, 2 series, 3 results" in ask("add", tmp_path, "--db", db)[1]


def test_what_changes_no_number_is_the_same_series(ask: Any, tmp_path: Path) -> None:
    """Every night another baseline, a trace, another of several alike devices: one series, and that without them."""
    db, usual = str(tmp_path / "h.sqlite"), {"_target_": "experiments.speedup.Speedup", "trace": False}
    for night in range(3):
        own = {**usual, "baseline": f"results/{night}", "trace": night == 1}
        write(tmp_path / f"{night}", night, {"a": {"speedup": 1.5}}, experiment=own, device={"type": "cpu", "index": 1})
    write(tmp_path / "usual", 3, {"a": {"speedup": 1.5}}, experiment=usual)
    assert "4 runs, 1 series, 4 results" in ask("add", tmp_path, "--db", db)[1]


def test_names_are_data(ask: Any, tmp_path: Path) -> None:
    """Quotes, patterns and escapes in a model's name mean themselves."""
    db, name = str(tmp_path / "h.sqlite"), "x'); DROP TABLE runs; --_%\x1b"
    write(tmp_path / "1", 0, {name: {"speedup": 1.5}, "xy": {"speedup": 1.5}})
    ask("add", tmp_path / "1", "--db", db)
    assert ask("show", "x_", "--db", db)[0] == 2
    code, out, _ = ask("show", "x'*", "--db", db)
    assert code == 0
    assert "DROP TABLE" in out
    assert "\x1b" not in out


def test_picture(ask: Any, nightly: Path, tmp_path: Path) -> None:
    """With matplotlib there is a picture too."""
    pytest.importorskip("matplotlib")
    db = str(tmp_path / "h.sqlite")
    ask("add", nightly, "--db", db)
    assert ask("plot", "slows", "--png", tmp_path / "x.png", "--db", db)[0] == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert "can't draw" in ask("plot", "slows", "--png", tmp_path / "x.nosuch", "--db", db)[2]


def test_bad_input(ask: Any, nightly: Path, tmp_path: Path) -> None:
    """One sentence and exit code 2; no database comes into being."""
    db = tmp_path / "h.sqlite"
    foreign = tmp_path / "text.sqlite"
    foreign.write_text("this is not a database, however long it is " * 50)
    with sqlite3.connect(tmp_path / "other.sqlite") as connection:
        connection.execute("CREATE TABLE t (x)")
    for words, said in (
        (("add", tmp_path / "nowhere", "--db", db), "there is no such folder"),
        (("add", foreign, "--db", db), f"text.sqlite is a file: give the folder of its run, such as {tmp_path}"),
        (("add", tmp_path, "--db", db), "holds no run"),
        (("show", "a", "--db", db), "there is no such history"),
        (("show", "a", "--db", tmp_path), f"--db takes a SQLite file, such as {tmp_path}/history.sqlite"),
        (("add", nightly / "00", "--db", tmp_path), "is a folder: --db takes a SQLite file"),
        (("show", "a", "--db", foreign), "can't be used as a history"),
        (("show", "a", "--db", tmp_path / "other.sqlite"), "can't be used as a history"),
        (("add", nightly / "00", "--db", "mysql://host/db"), "postgresql://"),
    ):
        code, _, err = ask(*words)
        assert (code, said in err) == (2, True), err
    assert not db.exists()


@pytest.mark.parametrize("text", ["x", "0", "-1", "2.5"])
def test_counts_that_are_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence has the word that was given, and what to give instead."""
    with pytest.raises(SystemExit) as stop:
        main(["show", "a", "--last", text])
    assert stop.value.code == 2
    assert f"{text!r} is no number of results: give 1 or more" in capsys.readouterr().err


def test_a_future_format(ask: Any, nightly: Path, tmp_path: Path) -> None:
    """A history of a newer version is refused."""
    db = str(tmp_path / "h.sqlite")
    ask("add", nightly / "00", "--db", db)
    with sqlite3.connect(db) as connection:
        connection.execute("UPDATE history_format SET version = 9")
    code, _, err = ask("show", "slows", "--db", db)
    assert code == 2
    assert "format 9" in err


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server of our own. It does not run as root: there it runs as user postgres."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    assert found, "no PostgreSQL server: apt-get install -y --no-install-recommends postgresql"
    folder = tmp_path_factory.mktemp("postgres")
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(folder, "postgres")
        for parent in folder.parents[:3]:
            parent.chmod(parent.stat().st_mode | 0o055)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    control = [*as_user, str(found[-1] / "pg_ctl"), "-D", str(folder / "data"), "-w", "-s"]
    options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories={folder} -c fsync=off"
    initial = [*as_user, str(found[-1] / "initdb"), "-D", str(folder / "data"), "-U", "tester", "-A", "trust", "-N"]
    subprocess.run(initial, check=True, capture_output=True, cwd=folder)
    subprocess.run([*control, "-l", str(folder / "log"), "-o", options, "start"], check=True, cwd=folder)
    yield f"postgresql://tester:secret@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-m", "immediate", "stop"], check=True, cwd=folder)


@pytest.mark.services
def test_postgresql(ask: Any, nightly: Path, server: str) -> None:
    """A server does the same as a file."""
    exercise(ask, nightly, server)


@pytest.mark.services
def test_postgresql_errors(ask: Any, nightly: Path, server: str) -> None:
    """A database that isn't there, or holds no history, is one sentence without the password."""
    code, _, err = ask("show", "a", "--db", server.replace("/postgres", "/nosuch"))
    assert code == 2
    assert "nosuch" in err
    assert "secret" not in err
    assert ask("show", "a", "--db", server.replace("/postgres", "/template1"))[0] == 2


def test_every_row_is_json(nightly: Path) -> None:
    """The made-up runs are real ones to their readers."""
    assert json.loads((nightly / "00" / "run.json").read_text())["experiment"] == "speedup"
