"""Models that go wrong, from outside: each costs one row that says what happened, and nothing else."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import psutil
import pytest

from runner.results.reader import Run, read_run

LOG_BYTES = 100_000
WORDS = (*("suite=bad", "experiment=toy", "backend=dynamo", "backend.name=eager", "backend.fullgraph=true"),)
EXPECTED = {
    "good_before": ("ok", "", ""),
    "raises_at_import": ("load_error", "load", "RuntimeError"),
    "raises_in_constructor": ("load_error", "load", "constructor says no"),
    "missing_package": ("unsupported", "load", "pip install"),
    "not_implemented": ("unsupported", "load", "no such thing here"),
    "unsupported": ("unsupported", "load", "needs a unicorn"),
    "raises_in_forward": ("eager_error", "eager", "forward says no"),
    "raises_under_compile": ("compile_error", "compile", "Unsupported"),
    "segfault": ("crashed", "eager", "SIGSEGV"),
    "exit_3": ("crashed", "eager", "exit code 3"),
    "abort": ("crashed", "eager", "SIGABRT"),
    "kills_itself": ("crashed", "eager", "SIGKILL"),
    "sys_exit": ("crashed", "eager", "SystemExit"),
    "memory_error": ("oom", "eager", "MemoryError"),
    "hangs": ("timeout", "eager", "limits.eager_s"),
    "hangs_deaf": ("timeout", "eager", "limits.eager_s"),
    "hangs_in_grandchild": ("timeout", "eager", "limits.eager_s"),
    "talks_200_mb": ("ok", "", ""),
    "unpicklable": ("eager_error", "eager", "Unpicklable"),
    "unprintable": ("eager_error", "eager", "Unprintable"),
    "odd_message": ("eager_error", "eager", "line one line two"),
    "patches_manual_seed": ("ok", "", ""),
    "changes_directory": ("ok", "", ""),
    "sets_flags": ("ok", "", ""),
    "raises_in_backward": ("ok", "", ""),
    "good_after": ("ok", "", ""),
}
#: The word in column accuracy that goes with a status.
ACCURACY = {
    "ok": "",
    "load_error": "model_fail_to_load",
    "unsupported": "model_fail_to_load",
    "eager_error": "eager_fail_to_run",
    "compile_error": "fail_to_run",
    "crashed": "",
    "oom": "OOM",
    "timeout": "timeout",
}


@pytest.fixture(scope="module")
def bad(start: Any, toys: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All of them in one run."""
    folder = tmp_path_factory.mktemp("bad")
    limits = ("limits.eager_s=5", f"limits.log_bytes={LOG_BYTES}")
    done = start(folder, *toys, *WORDS, *limits, "hydra.run.dir=out", timeout=600)
    assert done.returncode == 1, done.stderr
    return read_run(folder / "out").runs[0]


def row_of(run: Run, name: str) -> dict[str, Any]:
    """The one row of a model."""
    (row,) = (row for row in run.rows if row["name"] == name)
    return row


@pytest.mark.parametrize("name", EXPECTED)
def test_each_has_one_row_that_says_what_happened(bad: Run, name: str) -> None:
    """Status, phase and words are right, and so is upstream's word."""
    status, phase, words = EXPECTED[name]
    row = row_of(bad, name)
    assert (row["status"], row["phase"]) == (status, phase)
    assert words in f"{row['error_type']} {row['error']}"
    assert row["accuracy"] == ACCURACY[status]


def test_all_are_there(bad: Run) -> None:
    """The suite is the table above, no cell is missing, no line is damaged."""
    assert [row["name"] for row in bad.rows] == list(EXPECTED)
    assert (bad.missing, bad.dropped) == ((), 0)


def test_good_models_are_unaffected(bad: Run) -> None:
    """Those before, between and after have the same result."""
    good = {row["name"]: row["elements"] for row in bad.rows if row["status"] == "ok"}
    assert set(good.values()) == {8}


def test_a_failed_cell_keeps_what_was_known(bad: Run) -> None:
    """What the experiment had yielded is in the row; what was not measured is empty."""
    row = row_of(bad, "segfault")
    assert row["pid"] > 0
    assert row["elements"] is None


def test_every_row_is_one_line(bad: Run) -> None:
    """A message with newlines, NUL and escape codes does not break the file."""
    text = (bad.directory / "toy.csv").read_bytes()
    assert text.count(b"\n") == 1 + len(EXPECTED)
    assert not set(text) & {0, 0x1B, 0x0D}
    assert len(list(csv.reader(text.decode().splitlines()))) == 1 + len(EXPECTED)


def test_the_log_is_bounded(bad: Run) -> None:
    """200 MB of output leave the beginning and the end, and how much is missing."""
    log = bad.directory / row_of(bad, "talks_200_mb")["log"]
    assert log.stat().st_size < LOG_BYTES + 200
    assert b"bytes left out" in log.read_bytes()


def test_the_log_has_the_traceback(bad: Run) -> None:
    """The row has one line, the log has it all."""
    log = (bad.directory / row_of(bad, "raises_in_forward")["log"]).read_text()
    assert "Traceback" in log
    assert "line one" in (bad.directory / row_of(bad, "odd_message")["log"]).read_text()


def test_grandchildren_are_dead(bad: Run) -> None:
    """One that ignores SIGTERM and left the process group is killed with its cell."""
    log = (bad.directory / row_of(bad, "hangs_in_grandchild")["log"]).read_text()
    (pid,) = re.findall(r"grandchild (\d+)", log)
    assert not psutil.pid_exists(int(pid))


def test_a_hang_says_where(bad: Run) -> None:
    """The log of a cell that hit a limit shows what every thread was doing."""
    assert "in hang" in (bad.directory / row_of(bad, "hangs")["log"]).read_text()


def test_time_is_recorded(bad: Run) -> None:
    """Column cell_s has the wall time of the cell's child, that of failures too."""
    assert row_of(bad, "hangs")["cell_s"] >= 5
    assert all(0 < row["cell_s"] < 300 for row in bad.rows)


def test_a_failure_in_backward_only(cli: Any, toys: tuple[str, str], tmp_path: Path) -> None:
    """In training the model fails in the phase eager; in inference it is good."""
    words = ("model=raises_in_backward", "mode=training", "isolation=none", "hydra.run.dir=out")
    done = cli(*toys, *WORDS, *words)
    (row,) = read_run(tmp_path / "out").rows
    assert (done.returncode, row["status"], row["phase"]) == (1, "eager_error", "eager"), done.stderr
    assert "backward says no" in row["error"]
