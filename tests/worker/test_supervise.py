"""Children as the parent sees them: how they are started, shared, kept apart, and ended."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from worker_jobs import Heard, job_of

from runner.errors import UsageError
from runner.results.columns import Phase, Status
from runner.worker import kernel
from runner.worker.job import Job
from runner.worker.supervise import Supervisor

Make = Callable[..., Job]


def test_forked_child(make: Make, fork: Supervisor) -> None:
    """A child has a session of its own, no input, its threads, and torch from a server that has one thread."""
    heard = Heard()
    outcome = fork.run(make("facts"), heard)
    values = outcome.values
    assert outcome.status is Status.OK
    assert (values["pid"], values["stdin"], values["inductor"]) == (values["session"], "", True)
    assert values["torch_threads"] == len(values["cpus"])
    assert math.isnan(values["nan"])
    assert len(list(Path(f"/proc/{values['server']}/task").iterdir())) == 1
    assert heard.phases == ["compile"]
    assert [list(row)[-1] for row in heard.rows] == ["device_name", "before", "after"]


def test_every_job_has_its_child(make: Make, fork: Supervisor) -> None:
    """What one job changes in its process is unknown to the next."""
    fork.run(make("change"), Heard())
    first, second = (fork.run(make("state"), Heard()).values for _ in range(2))
    assert first.pop("pid") != second.pop("pid")
    assert first == second
    assert (first["left"], first["dtype"], first["grad"]) == (None, "torch.float32", True)


def test_shared_child(make: Make, fork: Supervisor) -> None:
    """Jobs that share run in one child, which is put back in order between them, and a new one after a crash."""
    first = fork.run(make("state"), Heard(), share=True).values
    assert fork.run(make("change"), Heard(), share=True).status is Status.OK
    assert fork.run(make("state"), Heard(), share=True).values == first
    assert fork.run(make("raise"), Heard(), share=True).status is Status.COMPILE_ERROR
    assert fork.run(make("segfault"), Heard(), share=True).error_type == "SIGSEGV"
    after = fork.run(make("state"), Heard(), share=True).values
    assert after.pop("pid") != first.pop("pid")
    assert after == first


def test_shared_child_ends(make: Make, fork: Supervisor) -> None:
    """A shared child that waits for its next job ends before a job that does not share."""
    shared = fork.run(make("state"), Heard(), share=True).values["pid"]
    assert psutil.pid_exists(shared)
    alone = fork.run(make("state"), Heard()).values["pid"]
    again = fork.run(make("state"), Heard(), share=True).values["pid"]
    assert len({shared, alone, again}) == 3
    assert [psutil.pid_exists(pid) for pid in (shared, alone, again)] == [False, False, True]


def test_log_of_each_shared_job(make: Make, fork: Supervisor, tmp_path: Path) -> None:
    """What jobs of one child print goes to the log of the job that printed it."""
    for name in ("a", "b"):
        fork.run(replace(make("nothing"), log=tmp_path / name), Heard(), share=True)
        assert (tmp_path / name).read_text() == "the log's line\n"


def test_spawned_child(make: Make) -> None:
    """isolation=spawn gives a fresh interpreter that imports what the job needs, with the same results."""
    with Supervisor("spawn") as supervisor:
        values = supervisor.run(make("facts"), Heard(), share=True).values
        assert (values["pid"], values["stdin"], values["inductor"]) == (values["session"], "", False)
        crashed = supervisor.run(make("segfault"), Heard(), share=True)
        assert (crashed.status, crashed.phase) == (Status.CRASHED, Phase.COMPILE)
        waiting = supervisor.run(make("state"), Heard(), share=True).values["pid"]
        assert psutil.pid_exists(waiting)
    assert not psutil.pid_exists(waiting)


def test_environment_before_torch(make: Make) -> None:
    """Variables of a job are there when its process starts, and gone for a job without them."""
    with Supervisor("spawn") as supervisor:
        found = [
            supervisor.run(make("facts", env=env), Heard()).values["variable"]
            for env in ({"TOY_VARIABLE": "a"}, {}, {"TOY_VARIABLE": "b"})
        ]
    assert found == ["a", None, "b"]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_cpus(make: Make, fork: Supervisor) -> None:
    """device.cpus pins the child, and threads follow."""
    cpu = max(os.sched_getaffinity(0))
    with Supervisor("spawn") as supervisor:
        values = supervisor.run(make("facts", cpus=str(cpu)), Heard()).values
    assert (values["cpus"], values["torch_threads"]) == ([cpu], 1)
    with pytest.raises(UsageError, match="may only use CPUs"):
        fork.run(make("facts", cpus="4000"), Heard())


def test_nothing_is_left_open(make: Make, fork: Supervisor) -> None:
    """Jobs leave neither descriptors nor processes behind in the parent."""
    fork.run(make("nothing"), Heard())
    before = sorted(os.listdir("/proc/self/fd")), len(psutil.Process().children(recursive=True))
    for action in ("nothing", "raise", "segfault", "exit3"):
        fork.run(make(action), Heard())
    assert (sorted(os.listdir("/proc/self/fd")), len(psutil.Process().children(recursive=True))) == before


def test_in_process(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """isolation=none runs here, gives the same outcomes, and leaves the process as it was."""
    directory = Path.cwd()
    with Supervisor("none") as supervisor:
        first = supervisor.run(make("state"), Heard())
        assert (first.status, first.values["pid"]) == (Status.OK, os.getpid())
        assert supervisor.run(make("change", env={"TOY_VARIABLE": "x"}), Heard()).values["after"] == 2
        failed = supervisor.run(make("raise"), Heard())
        assert (failed.status, failed.phase, failed.values["before"]) == (Status.COMPILE_ERROR, Phase.COMPILE, 1)
        assert supervisor.run(make("state"), Heard()).values == first.values
    assert Path.cwd() == directory
    assert "TOY_VARIABLE" not in os.environ


def test_failing_listener(make: Make) -> None:
    """What a listener raises ends the child and comes out."""

    class Full(Heard):
        def values(self, row: dict[str, object]) -> None:
            raise OSError(28, "No space left on device")

    with Supervisor("spawn") as supervisor:
        with pytest.raises(OSError, match="No space left"):
            supervisor.run(make("hang"), Full())
        assert supervisor.run(make("nothing"), Heard()).status is Status.OK


def test_server_that_can_not_start(make: Make) -> None:
    """A server that dies at its start is an internal error with what it printed; other environments go on working."""
    with Supervisor("fork") as supervisor:
        outcome = supervisor.run(make("nothing", env={"TORCH_LOGS": ""}), Heard())
    assert (outcome.status, outcome.error_type) == (Status.INTERNAL_ERROR, "ServerDied")
    assert "ended with code 1: AttributeError:" in outcome.error


def test_unfit_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows is refused, and forking elsewhere than on Linux, in one sentence."""
    monkeypatch.setattr(kernel, "LINUX", False)
    with pytest.raises(UsageError, match="use isolation=spawn"):
        Supervisor("fork")
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(UsageError, match="Windows is not supported"):
        Supervisor("none")


def test_unknown_status(tmp_path: Path, fork: Supervisor) -> None:
    """A status that does not exist is the experiment's defect, a valid one is the outcome's."""
    for argument, status in (("wrong_output", Status.WRONG_OUTPUT), ("nonsense", Status.INTERNAL_ERROR)):
        job = job_of(tmp_path, {"_target_": "worker_toys.Steps", "action": "status", "argument": argument})
        outcome = fork.run(job, Heard())
        assert outcome.status is status
        assert "status" not in outcome.values
