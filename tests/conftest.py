"""Fixtures that start the runner as a user would, and read what it leaves behind."""

from __future__ import annotations

import fcntl
import getpass
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
TOYS = ROOT / "tests" / "fixtures" / "toys"
Start = Callable[..., "subprocess.CompletedProcess[str]"]
#: Files that take longest. They come first, so that at the end no worker is alone with one of them.
LONGEST = ("test_docs", "test_cli", "test_accuracy", "test_resume")

# A job that a shell started with `&` ignores SIGINT, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# OpenMP's threads that wait for each other don't keep the CPUs busy meanwhile: other tests run beside. Before torch.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the others keep their order."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


class Starter:
    """Starts `python -m runner ARGS`, with the toy plug-ins of tests/fixtures/toys installed beside it.

    All starters of a session share a folder of leases of their own, so that no other run on this machine is waited for.
    """

    def __init__(self, leases: Path) -> None:
        self.leases = leases

    def __call__(
        self, cwd: Path, *args: str, env: dict[str, str] | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Start it in `cwd` and wait for its end."""
        return subprocess.run(
            [sys.executable, "-m", "runner", *args],
            cwd=cwd,
            env=self.environment(env),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    @contextmanager
    def background(self, cwd: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
        """Start it in `cwd`; what it prints goes to the files out.txt and err.txt there. Killed at the end."""
        with (cwd / "out.txt").open("w") as out, (cwd / "err.txt").open("w") as err:
            command = [sys.executable, "-m", "runner", *args]
            process = subprocess.Popen(command, cwd=cwd, env=self.environment(), stdout=out, stderr=err, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """Environment of a started runner: checkout and toys can be imported, compilers keep their cache."""
        cache = f"{tempfile.gettempdir()}/torchinductor_{getpass.getuser()}"
        return {
            **os.environ,
            "TORCHINDUCTOR_CACHE_DIR": os.environ.get("TORCHINDUCTOR_CACHE_DIR", cache),
            "TMPDIR": str(self.leases),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(TOYS), os.environ.get("PYTHONPATH", "")]),
            **(extra or {}),
        }

    @contextmanager
    def held_cpus(self) -> Iterator[None]:
        """As if another run measured on all CPUs meanwhile."""
        folder = self.leases / f"torch-benchmark-runner-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        files = [(folder / f"cpu-{cpu:04d}.lock").open("w") for cpu in sorted(os.sched_getaffinity(0))]
        for file in files:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write("pid 4242")
            file.flush()
        try:
            yield
        finally:
            for file in files:
                file.close()


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Starter:
    """`start(folder, *args)` runs `python -m runner`."""
    return Starter(tmp_path_factory.mktemp("temporary"))


@pytest.fixture
def cli(tmp_path: Path, start: Starter) -> Start:
    """Start `python -m runner ARGS` in an empty folder and wait for it."""

    def run(*args: str, cwd: Path | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
        return start(cwd or tmp_path, *args, **more)

    return run


@pytest.fixture(scope="session")
def toys() -> tuple[str, str]:
    """The words that make the toys' configuration known."""
    return ("--config-dir", str(TOYS / "conf"))


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], bool]], None]:
    """A function that returns once its argument is true, and fails when that takes too long."""

    def wait(happened: Callable[[], bool], limit_s: float = 180) -> None:
        deadline = time.monotonic() + limit_s
        while not happened():
            assert time.monotonic() < deadline, "it never happened"
            time.sleep(0.02)

    return wait
