"""What becomes of the child when its parent is ended: by Ctrl-C, by SIGTERM, by kill -9, by a full cgroup."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from worker_jobs import TOYS

from runner.devices.lease import Lock, _try

ROOT = Path(__file__).parent.parent.parent
GONE_S = 60


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A function that starts tests/fixtures/worker_toys/drive.py."""
    started: list[subprocess.Popen[str]] = []

    def start(action: str, argument: str = "", **options: Any) -> subprocess.Popen[str]:
        env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{TOYS}", "TOY_ARGUMENT": argument}
        command = [sys.executable, str(TOYS / "drive.py"), str(tmp_path), action]
        started.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def until(process: subprocess.Popen[str], key: str) -> Any:
    """What `process` says under `key`, once it does."""
    assert process.stdout is not None
    for line in process.stdout:
        said = json.loads(line)
        if key in said:
            return said[key]
    raise AssertionError(f"it ended without saying {key}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(number: signal.Signals, code: int, drive: Callable[..., subprocess.Popen[str]]) -> None:
    """Ctrl-C and SIGTERM end the child; the parent gets what was known, and what to exit with."""
    process = drive("deaf")
    assert until(process, "phase") == "compile"
    process.send_signal(number)
    outcome = until(process, "outcome")
    assert outcome["status"] == "interrupted"
    assert (outcome["phase"], outcome["error_type"], outcome["before"]) == ("compile", number.name, 1)
    assert process.wait() == code


def test_nobody_survives_the_parent(drive: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """After kill -9 of the parent its server, the child and a deaf grandchild in another session are gone too."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = drive("grandchild", str(fifo))
    grandchild = int(fifo.read_text())
    family = psutil.Process(process.pid).children(recursive=True)
    assert grandchild in [member.pid for member in family]
    assert len(family) >= 3
    process.kill()
    assert psutil.wait_procs(family, timeout=GONE_S)[1] == []


def test_interrupted_while_waiting(drive: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """A run whose device another holds says so, and can be ended."""
    cpu = min(os.sched_getaffinity(0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runner.devices.lease.folder", lambda: tmp_path)
        held, _ = _try([Lock(f"cpu-{cpu:04d}", "")])
        process = drive("nothing")
        assert until(process, "waiting") == f"waiting for CPU {cpu}, held by pid {os.getpid()}"
        process.send_signal(signal.SIGTERM)
        assert until(process, "interrupted") == "SIGTERM"
        assert process.wait() == 143
        os.close(held[0])


@contextmanager
def memory_cgroup(limit: int) -> Iterator[Path]:
    """A cgroup below ours that holds at most `limit` bytes."""
    entries = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    first = next((path for _, names, path in entries if "memory" in names.split(",")), None)
    own = f"/sys/fs/cgroup/memory{first}" if first else f"/sys/fs/cgroup{entries[-1][2]}"
    group = Path(own) / f"toys-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"can't make a cgroup: {error}")
    try:
        name = "memory.limit_in_bytes" if first else "memory.max"
        if not (group / name).exists():
            pytest.skip(f"no memory controller in {own}")
        (group / name).write_text(str(limit))
        yield group
    finally:
        group.rmdir()


def test_oom_kill(drive: Callable[..., subprocess.Popen[str]]) -> None:
    """A child that the kernel kills because its memory cgroup is full is oom, and the parent lives."""
    with memory_cgroup(3 << 29) as group:

        def enter() -> None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

        process = drive("fill_memory", preexec_fn=enter)
        outcome = until(process, "outcome")
        assert process.wait() == 0
    assert (outcome["status"], outcome["phase"], outcome["error_type"]) == ("oom", "compile", "SIGKILL")
