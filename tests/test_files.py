"""What a run leaves on the disk, and what it says when the disk does not play along."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.results.columns import header
from runner.results.command import hydra_value
from runner.results.reader import read_run
from runner.results.run import RunRecord

UGLY = 'a\'b/../c "d"\n<script>[bold]'
Toys = tuple[str, str]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this process may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="module")
def ugly(start: Any, toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which a run of the model with the hard name ended, in `out`."""
    folder = tmp_path_factory.mktemp("ugly")
    done = start(
        folder, *toys, "suite=toy_suite", "experiment=toy", "model=a?b*", "hydra.run.dir=out", "isolation=none"
    )
    assert done.returncode == 0, done.stderr
    return folder


def files(folder: Path) -> set[str]:
    """All files below a folder, relative to it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_an_ugly_name_is_data(ugly: Path) -> None:
    """A name with slash, quotes and newline is one row on one line, and no file is called by it."""
    (row,) = read_run(ugly / "out").rows
    assert row["name"] == UGLY.replace("\n", "\\n")
    assert (ugly / "out" / "toy.csv").read_bytes().count(b"\n") == 2
    assert not [name for name in files(ugly) if "script" in name]


def test_nothing_is_written_outside_the_run_directory(ugly: Path) -> None:
    """Neither beside it nor elsewhere in the folder that the run was started in."""
    assert {name.split("/")[0] for name in files(ugly)} == {"out"}
    (row,) = read_run(ugly / "out").rows
    known = {"run.json", "runner.log", "toy.csv", "toy_table.csv", f"samples/{row['cell_id']}.npz"}
    visible = {name for name in files(ugly / "out") if not any(part.startswith(".") for part in name.split("/"))}
    assert visible == known


def test_an_ugly_name_on_the_command_line(cli: Any, tmp_path: Path, ugly: Path, toys: Toys) -> None:
    """The command in the row, pasted into a shell, runs that cell again: same cell_id, same result."""
    (row,) = read_run(ugly / "out").rows
    shell = ["bash", "-c", f"printf '%s\\0' {row['command']}"]
    words = subprocess.run(shell, capture_output=True, check=True).stdout.decode().split("\0")[:-1]
    assert words[:3] == ["python", "-m", "runner"]
    done = cli(*words[3:], "hydra.run.dir=again")
    assert done.returncode == 0, done.stderr
    (again,) = read_run(tmp_path / "again").rows
    assert all(again[key] == row[key] for key in ("cell_id", "name", "elements"))


def test_an_ugly_name_in_a_sweep(cli: Any, tmp_path: Path, toys: Toys) -> None:
    """The job's folder has a tame name below the sweep's."""
    words = ("--multirun", "suite=toy_suite", f"model={hydra_value(UGLY)}", "experiment=toy_noop", "isolation=none")
    done = cli(*toys, *words, "hydra.sweep.dir=out")
    assert done.returncode == 0, done.stderr
    (row,) = read_run(tmp_path / "out").rows
    assert row["name"] == UGLY.replace("\n", "\\n")
    assert {name.split("/")[0] for name in files(tmp_path)} == {"out"}
    (job,) = (path.parent for path in (tmp_path / "out").rglob("run.json"))
    assert job.parent == tmp_path / "out"


def test_the_command_of_an_expanded_cell(cli: Any, tmp_path: Path, toys: Toys) -> None:
    """Of a skipped model, a sweep's job, a task: each command gives the one cell that its row is about."""
    words = ("suite=toy_suite", "experiment=toy_tasks", "select.no_skip=true", 'tag="it\'s"', "seed=1,2", "--multirun")
    done = cli(*toys, *words, "hydra.sweep.dir=out", "model=toy2", "isolation=none")
    assert done.returncode == 0, done.stderr
    rows = read_run(tmp_path / "out").rows
    assert len({row["cell_id"] for row in rows}) == 4
    for row in rows:
        planned = cli(*shlex.split(row["command"])[3:], "plan=true")
        assert row["cell_id"] in planned.stdout
        assert "1 cell, 1 to run" in planned.stdout


def test_the_record_says_what_was_asked(ugly: Path, toys: Toys) -> None:
    """run.json has the command, the cells as resolved, the columns and the environment."""
    record = RunRecord.load(ugly / "out")
    (row,) = read_run(ugly / "out").rows
    assert record.command[:2] == toys
    assert (record.cwd, record.env_id) == (str(ugly), row["env_id"])
    assert record.cells[row["cell_id"]]["model"] == {"name": UGLY}
    assert record.columns == header(c for c in record.columns if c.name in {"elements", "pid"})
    assert record.environment["torch"]["version"]
    assert "PATH" not in record.environment["variables"]


def test_a_directory_that_cannot_be_made(cli: Any, toys: Toys, tmp_path: Path) -> None:
    """One sentence that names it; exit 1."""
    (tmp_path / "file").write_text("")
    for place in ("file/out", "/proc/out"):
        done = cli(*toys, "experiment=toy_noop", f"hydra.run.dir={place}")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert place in done.stderr
        assert "Traceback" not in done.stderr


def test_a_read_only_disk(cli: Any, toys: Toys, small_disk: Path) -> None:
    """One sentence, exit 1."""
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for place in (small_disk, small_disk / "out"):
        done = cli(*toys, "experiment=toy_noop", "model=mlp", f"hydra.run.dir={place}")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert str(small_disk) in done.stderr


def test_a_disk_that_is_full_from_the_start(cli: Any, toys: Toys, small_disk: Path) -> None:
    """What can't be written is named; exit 1, no traceback."""
    fill(small_disk)
    done = cli(*toys, "experiment=toy_noop", "model=mlp", f"hydra.run.dir={small_disk}/out")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_fills_up(
    cli: Any, start: Any, toys: Toys, small_disk: Path, tmp_path: Path, wait_for: Any
) -> None:
    """The rows that were there stay readable, the rest can be resumed once there is room; exit 1."""
    words = (
        "suite=toy_suite",
        "experiment=toy_noop",
        "model=toy*",
        "isolation=none",
        f"hydra.run.dir={small_disk}/out",
    )
    said = tmp_path / "err.txt"
    with start.background(tmp_path, *toys, *words) as process:
        with start.held_cpus():
            wait_for(lambda: "waiting for CPU" in said.read_text() or process.poll() is not None)
            fill(small_disk)
        assert process.wait(120) == 1
    assert "No space left on device" in said.read_text()
    assert "Traceback" not in said.read_text()
    (small_disk / "filling").unlink()
    assert cli("resume", f"{small_disk}/out").returncode == 0
    rows = read_run(small_disk / "out").rows
    assert [(row["name"], row["status"]) for row in rows] == [("toy1", "ok"), ("toy2", "skipped"), ("toy_hidden", "ok")]


def fill(folder: Path) -> None:
    """Leave no byte."""
    with (folder / "filling").open("wb", buffering=0) as file:
        for size in (1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def test_two_runs_in_the_same_second(start: Any, toys: Toys, tmp_path: Path) -> None:
    """Each has a folder of its own, and its own row; neither waits for the other's files."""
    command = [sys.executable, "-m", "runner", *toys, "suite=toy_suite", "experiment=toy_noop", "isolation=none"]
    quiet = {"cwd": tmp_path, "env": start.environment(), "stdout": subprocess.DEVNULL}
    both = [subprocess.Popen([*command, f"tag={i}"], **quiet) for i in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    runs = [read_run(record.parent).rows for record in tmp_path.glob("outputs/*/*/run.json")]
    assert sorted(rows[0]["tag"] for rows in runs) == ["0", "1"]


def test_two_runs_in_the_same_directory(start: Any, toys: Toys, tmp_path: Path) -> None:
    """One of them gets it, the other is refused."""
    command = [sys.executable, "-m", "runner", *toys, "suite=toy_suite", "experiment=toy_noop", "isolation=none"]
    quiet = {"cwd": tmp_path, "env": start.environment(), "stdout": subprocess.DEVNULL}
    both = [subprocess.Popen([*command, "hydra.run.dir=out"], **quiet) for _ in range(2)]
    assert sorted(process.wait(120) for process in both) == [0, 2]
    assert [row["status"] for row in read_run(tmp_path / "out").rows] == ["ok", "skipped"]


def test_the_holder_of_the_device_is_named(start: Any, toys: Toys, tmp_path: Path, wait_for: Any) -> None:
    """While another run holds the device, this one says so once, and goes on when it is free."""
    words = (*toys, "suite=toy_suite", "experiment=toy_noop", "model=toy1", "isolation=none", "hydra.run.dir=out")
    with start.background(tmp_path, *words) as process:
        with start.held_cpus():
            pass
        assert process.wait(120) == 0
    with start.held_cpus(), start.background(tmp_path, *words[:-1], "hydra.run.dir=second") as process:
        wait_for(lambda: "waiting for CPU 0, held by pid 4242" in (tmp_path / "err.txt").read_text())
        assert process.poll() is None
    assert (tmp_path / "err.txt").read_text().count("waiting") == 1
    assert os.listdir(tmp_path / "second")
