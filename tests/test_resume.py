"""Going on where a run stopped, however it stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from runner.errors import UsageError
from runner.results.columns import COMMON
from runner.results.reader import read_run
from runner.results.run import RunRecord
from runner.resume import replay

#: Two quick cells, in the process of the runner: none of this is about isolation.
WORDS = (*("suite=toy_suite", "experiment=toy", "isolation=none", "model=toy*", "hydra.run.dir=out"),)
BAD = (*("suite=bad", "experiment=toy", 'select.include=["^good","^hangs$"]', "hydra.run.dir=out"),)


def rows(directory: Path) -> dict[str, Any]:
    """Name -> row; every name once."""
    found = read_run(directory).rows
    assert len({row["name"] for row in found}) == len(found)
    return {row["name"]: row for row in found}


def statuses(directory: Path) -> dict[str, str]:
    """Name -> status."""
    return {name: row["status"] for name, row in rows(directory).items()}


def change(directory: Path, name: str, status: str | None) -> None:
    """Rewrite the row of a model as one with another status, or take it away."""
    path = directory / "toy.csv"
    lines = path.read_text().splitlines(keepends=True)
    place = next(i for i, line in enumerate(lines) if f",{name}," in line)
    lines[place] = lines[place].replace(",ok,", f",{status},", 1) if status else ""
    path.write_text("".join(lines))


def gone(processes: list[psutil.Process]) -> bool:
    """Whether none of them runs any more."""
    return not psutil.wait_procs(processes, timeout=10)[1]


@pytest.fixture(scope="module")
def finished(start: Any, toys: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which a run of toy1, toy2 (skipped) and toy_hidden ended well, in `out`."""
    folder = tmp_path_factory.mktemp("finished")
    done = start(folder, *toys, *WORDS)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def used(finished: Path, tmp_path: Path) -> Path:
    """A copy of it that may be spoilt. It was started in `finished`, which is where `resume` goes."""
    subprocess.run(["cp", "-r", finished / "out", tmp_path / "out"], check=True)
    return tmp_path / "out"


def test_a_used_directory_is_refused(cli: Any, used: Path, toys: tuple[str, str]) -> None:
    """Without resume nothing is overwritten, and the sentence says how to go on."""
    before = {path: path.read_bytes() for path in used.rglob("*") if path.is_file()}
    done = cli(*toys, *WORDS, "seed=1")
    assert done.returncode == 2
    assert "python -m runner resume" in done.stderr
    assert {path: path.read_bytes() for path in used.rglob("*") if path.is_file()} == before


def test_nothing_left_to_do(cli: Any, used: Path) -> None:
    """Resuming a complete run runs nothing and keeps every row."""
    before = (used / "toy.csv").read_bytes()
    done = cli("resume", "out")
    assert done.returncode == 0, done.stderr
    assert (used / "toy.csv").read_bytes() == before


def test_missing_and_unfinished_cells_run(cli: Any, used: Path) -> None:
    """A cell without a row or with an interrupted one runs again; the others' rows stay as they are."""
    change(used, "toy1", None)
    change(used, "toy_hidden", "run_error")
    done = cli("resume", "out")
    assert done.returncode == 1, done.stderr
    assert statuses(used) == {"toy1": "ok", "toy2": "skipped", "toy_hidden": "run_error"}
    assert list(read_run(used).runs[0].missing) == []


def test_failed_cells_run_on_request(cli: Any, used: Path) -> None:
    """`--failed` runs those that make the exit code 1 as well, once each, and their long tables too."""
    change(used, "toy1", "interrupted")
    change(used, "toy_hidden", "run_error")
    done = cli("resume", "out", "--failed")
    assert done.returncode == 0, done.stderr
    assert "[2/2]" in done.stderr
    assert statuses(used) == {"toy1": "ok", "toy2": "skipped", "toy_hidden": "ok"}
    assert (used / "toy_table.csv").read_text().count("\n") == 1 + 2 * 2


def test_all_cells_run_on_request(cli: Any, used: Path) -> None:
    """`--all` runs everything again."""
    done = cli("resume", "out", "--all")
    assert done.returncode == 0, done.stderr
    assert "[3/3]" in done.stderr
    assert len(rows(used)) == 3


def test_the_scripted_form(cli: Any, used: Path, toys: tuple[str, str]) -> None:
    """`resume=missing` with the same command and folder does what the subcommand does."""
    change(used, "toy1", "internal_error")
    done = cli(*toys, *WORDS, "resume=missing")
    assert done.returncode == 0, done.stderr
    assert "[1/1] toy1 ok" in done.stderr
    assert set(statuses(used).values()) == {"ok", "skipped"}


def test_another_configuration_is_refused(cli: Any, used: Path, toys: tuple[str, str]) -> None:
    """A folder whose run.json is of other cells is not mixed with these."""
    done = cli(*toys, *WORDS, "resume=missing", "seed=1")
    assert done.returncode == 2
    assert "is of another configuration" in done.stderr
    assert len(rows(used)) == 3


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}'])
def test_a_damaged_record_is_refused(cli: Any, used: Path, text: str) -> None:
    """A run.json that can't be read is one sentence."""
    (used / "run.json").write_text(text)
    done = cli("resume", "out")
    assert done.returncode == 2
    assert "run.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_a_run(cli: Any, tmp_path: Path) -> None:
    """There is nothing to resume."""
    done = cli("resume", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "holds no results" in done.stderr


def test_a_rerun_is_not_resumed(tmp_path: Path) -> None:
    """Cells that were run again from another run's record have no command to go on with; the sentence has theirs."""
    RunRecord("toy", {}, COMMON, command=("rerun", "old run", "--cell", "1")).write(tmp_path)
    with pytest.raises(UsageError, match="new folder: python -m runner rerun 'old run' --cell 1$"):
        replay(tmp_path, "missing", other_env=False)


def test_another_environment_is_refused(cli: Any, used: Path) -> None:
    """Results under other variables are not comparable: refused by name, unless `--other-env` says so."""
    change(used, "toy1", None)
    other = {"env": {"TORCH_LOGS_OF_TESTS": "1"}}
    done = cli("resume", "out", **other)
    assert done.returncode == 2
    assert "TORCH_LOGS_OF_TESTS" in done.stderr
    assert "--other-env" in done.stderr
    assert cli("resume", "out", "--other-env", **other).returncode == 0
    assert rows(used)["toy1"]["env_id"] != rows(used)["toy_hidden"]["env_id"]


def test_a_running_run_is_not_resumed(cli: Any, start: Any, used: Path, tmp_path: Path, wait_for: Any) -> None:
    """While one process writes to the folder, another one is refused."""
    change(used, "toy1", None)
    with start.held_cpus(), start.background(tmp_path, "resume", "out") as first:
        wait_for(lambda: "waiting for CPU" in (tmp_path / "err.txt").read_text())
        second = cli("resume", "out")
        assert second.returncode == 2
        assert "in use by another process" in second.stderr
        first.send_signal(signal.SIGINT)
        assert first.wait(60) == 130


def test_kill_in_the_middle(cli: Any, start: Any, tmp_path: Path, toys: tuple[str, str], wait_for: Any) -> None:
    """After kill -9 no process is left, the finished row is there, and resume gives every cell one row."""
    with start.background(tmp_path, *toys, *BAD, "limits.eager_s=3") as process:
        wait_for(lambda: any("hanging" in log.read_text() for log in tmp_path.glob("out/logs/*.log")))
        started = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        assert len(started) >= 2
        assert gone(started)
    assert statuses(tmp_path / "out") == {"good_before": "ok"}
    first = rows(tmp_path / "out")["good_before"]
    done = cli("resume", "out")
    assert done.returncode == 1, done.stderr
    assert statuses(tmp_path / "out") == {"good_before": "ok", "hangs": "timeout", "good_after": "ok"}
    assert rows(tmp_path / "out")["good_before"] == first


@pytest.mark.parametrize("first", [(), ("--multirun",)])
def test_a_run_and_a_sweep_share_no_folder(cli: Any, tmp_path: Path, toys: tuple[str, str], first: tuple[str]) -> None:
    """Neither goes into the other's folder, resumed or not; what is there stays as it is."""
    words = (*toys, *WORDS, "experiment=toy_noop", "hydra.run.dir=out", "hydra.sweep.dir=out")
    assert cli(*first, *words).returncode == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.csv")}
    second = () if first else ("--multirun",)
    for more in ((), ("resume=missing",)):
        done = cli(*second, *words, *more)
        assert done.returncode == 2
        assert "choose another directory" in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.csv")} == before


@pytest.mark.parametrize(("number", "code", "name"), [(signal.SIGINT, 130, "SIGINT"), (signal.SIGTERM, 143, "SIGTERM")])
def test_an_interrupted_cell(
    start: Any, tmp_path: Path, toys: tuple[str, str], wait_for: Any, number: int, code: int, name: str
) -> None:
    """The child goes, what is known is written, the rest has a row that says so, the exit code says which signal."""
    with start.background(tmp_path, *toys, *BAD, "isolation=fork") as process:
        wait_for(lambda: any("hanging" in log.read_text() for log in tmp_path.glob("out/logs/*.log")))
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        assert process.wait(60) == code
        assert gone(started)
    assert statuses(tmp_path / "out") == {"good_before": "ok", "hangs": "interrupted", "good_after": "interrupted"}
    hung, after = (rows(tmp_path / "out")[name] for name in ("hangs", "good_after"))
    assert (hung["phase"], hung["error_type"]) == ("eager", name)
    assert hung["pid"] is not None
    assert "before it was started" in after["error"]
    assert "3 cells: 1 ok" in (tmp_path / "out.txt").read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_while_waiting_for_a_device(
    cli: Any, start: Any, tmp_path: Path, toys: tuple[str, str], wait_for: Any, number: int, code: int
) -> None:
    """The cell that waits and those after it are interrupted ones; resume runs them, planned ones have their row."""
    with start.held_cpus(), start.background(tmp_path, *toys, *WORDS, "experiment=toy_noop") as process:
        wait_for(lambda: "waiting for CPU" in (tmp_path / "err.txt").read_text())
        process.send_signal(number)
        assert process.wait(60) == code
    assert statuses(tmp_path / "out") == {"toy1": "interrupted", "toy2": "skipped", "toy_hidden": "interrupted"}
    if number == signal.SIGINT:
        done = cli("resume", "out")
        assert done.returncode == 0, done.stderr
        assert statuses(tmp_path / "out") == {"toy1": "ok", "toy2": "skipped", "toy_hidden": "ok"}


def test_an_interrupted_sweep(cli: Any, start: Any, tmp_path: Path, toys: tuple[str, str], wait_for: Any) -> None:
    """SIGTERM ends all of it: 143, the job's cell is interrupted, later jobs don't start; resume does what is left."""
    words = ("--multirun", "suite=toy_suite", "model=toy1,toy2,toy_hidden", "experiment=toy_noop", "isolation=none")
    with start.held_cpus(), start.background(tmp_path, *toys, *words, "hydra.sweep.dir=out") as process:
        wait_for(lambda: "waiting for CPU" in (tmp_path / "err.txt").read_text())
        process.terminate()
        assert process.wait(60) == 143
    assert statuses(tmp_path / "out") == {"toy1": "interrupted"}
    (tmp_path / "out" / "sweep.csv").write_text("spoilt")
    done = cli("resume", "out")
    assert done.returncode == 0, done.stderr
    assert statuses(tmp_path / "out") == {"toy1": "ok", "toy2": "skipped", "toy_hidden": "ok"}
    gathered = (tmp_path / "out" / "sweep.csv").read_text().splitlines()
    assert len(gathered) == len((tmp_path / "out" / "toy_noop.csv").read_text().splitlines()) == 4
    jobs = [json.loads(path.read_text())["job"] for path in (tmp_path / "out").glob("*/run.json")]
    assert sorted(jobs) == [0, 1, 2]
    one = next((tmp_path / "out").glob("*/run.json")).parent
    assert "resume the sweep's folder" in cli("resume", os.fspath(one)).stderr
    again = cli(*toys, *words, "hydra.sweep.dir=out")
    assert (again.returncode, "resume" in again.stderr) == (2, True)
