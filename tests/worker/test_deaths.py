"""Every way a child can end: one outcome with the right status and phase, and the next job is unaffected."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from worker_jobs import Heard, job_of

from runner.results.columns import Phase, Status
from runner.worker.job import Job
from runner.worker.limits import Limits
from runner.worker.supervise import Supervisor

Make = Callable[..., Job]

ENDS = {
    "raise": (Status.COMPILE_ERROR, "ValueError", "bad luck"),
    "interrupt": (Status.COMPILE_ERROR, "KeyboardInterrupt", "from the model"),
    "unprintable": (Status.COMPILE_ERROR, "Unprintable", "can't be printed"),
    "unsupported": (Status.UNSUPPORTED, "Unsupported", "needs a better machine"),
    "not_implemented": (Status.COMPILE_ERROR, "NotImplementedError", "not here"),
    "missing": (Status.COMPILE_ERROR, "ModuleNotFoundError", "no_such_package_anywhere"),
    "memory_error": (Status.OOM, "MemoryError", ""),
    "torch_memory_error": (Status.OOM, "RuntimeError", "allocate memory"),
    "segfault": (Status.CRASHED, "SIGSEGV", "SIGSEGV"),
    "abort": (Status.CRASHED, "SIGABRT", "SIGABRT"),
    "exit3": (Status.CRASHED, "exit", "exit code 3"),
    "sys_exit": (Status.CRASHED, "SystemExit", "sys.exit(0)"),
    "close_everything": (Status.CRASHED, "exit", "exit code 70"),
}


@pytest.mark.parametrize("action", ENDS)
def test_death(action: str, make: Make, fork: Supervisor) -> None:
    """A death while compiling is an outcome with what was known before; the child after it works."""
    outcome = fork.run(make(action), Heard())
    status, error_type, text = ENDS[action]
    assert (outcome.status, outcome.phase, outcome.error_type) == (status, Phase.COMPILE, error_type)
    assert text in outcome.error
    assert outcome.values["before"] == 1
    assert "after" not in outcome.values
    assert fork.run(make("nothing"), Heard()).status is Status.OK


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_signal_to_itself(number: int, make: Make, fork: Supervisor) -> None:
    """A signal that the child sends itself is a crash (SIGINT: an exception like any other), not an interruption."""
    outcome = fork.run(make("die_by", str(int(number))), Heard())
    expected = Status.COMPILE_ERROR if number == signal.SIGINT else Status.CRASHED
    assert (outcome.status, outcome.phase) == (expected, Phase.COMPILE)


@pytest.mark.parametrize(
    ("phase", "status"),
    [
        ("load", Status.LOAD_ERROR),
        ("eager", Status.EAGER_ERROR),
        ("check", Status.CHECK_ERROR),
        ("memory", Status.RUN_ERROR),
        ("warmup", Status.RUN_ERROR),
        ("measure", Status.RUN_ERROR),
        ("", Status.INTERNAL_ERROR),
    ],
)
def test_status_follows_the_phase(phase: str, status: Status, make: Make, fork: Supervisor) -> None:
    """The same exception has the status of the phase it was raised in; outside of any it is our own defect."""
    outcome = fork.run(make("raise", phase=phase), Heard())
    assert (outcome.status, outcome.phase) == (status, Phase(phase) if phase else None)


@pytest.mark.parametrize(
    ("action", "status", "text"),
    [
        ("raise", Status.LOAD_ERROR, "bad luck"),
        ("missing", Status.UNSUPPORTED, "pip install no_such_package_anywhere"),
        ("not_implemented", Status.UNSUPPORTED, "not here"),
        ("unsupported", Status.UNSUPPORTED, "needs a better machine"),
        ("segfault", Status.CRASHED, "SIGSEGV"),
    ],
)
def test_failing_load(action: str, status: Status, text: str, make_loading: Make, fork: Supervisor) -> None:
    """What a model's own loading does is told apart from what is missing to load it."""
    outcome = fork.run(make_loading(action), Heard())
    assert (outcome.status, outcome.phase) == (status, Phase.LOAD)
    assert text in outcome.error


def test_loaded_workload(make_loading: Make, fork: Supervisor) -> None:
    """A loaded model reports batch size, source and device beside what the experiment yields."""
    outcome = fork.run(make_loading("nothing"), Heard())
    assert outcome.status is Status.OK
    assert outcome.values | {"device_name": ""} == {
        "batch_size": 1, "source": "builtin", "before": 1, "after": 2, "device_name": ""
    }  # fmt: skip


def test_ugly_message(make: Make, fork: Supervisor) -> None:
    """A message with NUL, newline, escapes and thousands of letters becomes one short printable line."""
    outcome = fork.run(make("ugly"), Heard())
    assert outcome.error.startswith("a\\x00b cred\\x07 zzz")
    assert outcome.error.isprintable()
    assert len(outcome.error) <= 500


@pytest.mark.parametrize("action", ["hang", "deaf"])
def test_hang(action: str, make: Make, fork: Supervisor) -> None:
    """A hang ends with the limit of its phase, also when every signal is blocked."""
    outcome = fork.run(make(action, limits=Limits(compile_s=0.5)), Heard())
    assert (outcome.status, outcome.phase, outcome.error_type) == (Status.TIMEOUT, Phase.COMPILE, "compile_s")
    assert outcome.error == "phase compile took longer than limits.compile_s=0.5"


def test_hang_says_where(make: Make, fork: Supervisor) -> None:
    """The log of a job that was ended by a limit shows where it was."""
    job = make("hang", limits=Limits(compile_s=0.5))
    fork.run(job, Heard())
    assert "in sleep_for_ever" in job.log.read_text()


def test_cell_limit(make: Make, fork: Supervisor) -> None:
    """A hang outside of any phase ends with the limit of the cell."""
    outcome = fork.run(make("hang", phase="", limits=Limits(cell_s=0.5)), Heard())
    assert (outcome.status, outcome.phase, outcome.error_type) == (Status.TIMEOUT, None, "cell_s")


def test_calls_too_slow_for_the_limit(make: Make, fork: Supervisor) -> None:
    """A cell whose calls can't end within its limit ends before they are made."""
    outcome = fork.run(make("hang", call_s=200.0, limits=Limits(cell_s=500)), Heard())
    assert (outcome.status, outcome.phase, outcome.error_type) == (Status.TIMEOUT, Phase.COMPILE, "cell_s")
    assert "at least 600 s of calls are left, one of which took 200 s" in outcome.error
    assert fork.run(make("nothing", call_s=100.0, limits=Limits(cell_s=500)), Heard()).status is Status.OK


@pytest.mark.parametrize("action", ["grandchild", "start_grandchild"])
def test_no_grandchild_is_left(action: str, make: Make, fork: Supervisor, tmp_path: Path) -> None:
    """A grandchild in a session of its own that ignores SIGTERM is gone when the outcome is there."""
    pid_file = tmp_path / "pid"
    outcome = fork.run(make(action, str(pid_file), limits=Limits(compile_s=3)), Heard())
    assert outcome.status is (Status.TIMEOUT if action == "grandchild" else Status.OK)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_flood(make: Make, fork: Supervisor) -> None:
    """200 MB of output neither stall the child nor grow the parent; the log keeps the beginning and the end."""
    job = make("flood", "200", limits=Limits(log_bytes=1_000_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert fork.run(job, Heard()).status is Status.OK
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
    text = job.log.read_text()
    assert len(text) < 1_000_200
    assert text.startswith("the log's line\nfirst line\n")
    assert text.endswith("last line\n")
    assert "bytes left out (limits.log_bytes)" in text


def test_unwritable_log(make: Make, fork: Supervisor, tmp_path: Path) -> None:
    """A log that can't be written is a note to the user; the job goes on."""
    (tmp_path / "file").write_text("")
    job = job_of(tmp_path / "file", {"_target_": "worker_toys.Steps"})
    heard = Heard()
    assert fork.run(job, heard).status is Status.OK
    assert "is incomplete: File exists" in heard.notes[0]
