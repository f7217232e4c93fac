"""Makes the toys importable, keeps our leases apart, and starts the server that most tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TOYS = Path(__file__).parent.parent / "fixtures" / "worker_toys"
sys.path.insert(0, str(TOYS))  # before the test modules are imported; children get our path

from worker_jobs import job_of  # noqa: E402

from runner import registry  # noqa: E402
from runner.devices import lease  # noqa: E402
from runner.worker.job import Job  # noqa: E402
from runner.worker.supervise import Supervisor  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def _toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Our own leases, so that a run of the program on this machine does not make tests wait."""
    folder = tmp_path_factory.mktemp("leases")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "folder", lambda: folder)
        registry._plugins.cache_clear()
        yield
    registry._plugins.cache_clear()


@pytest.fixture(scope="session")
def fork() -> Iterator[Supervisor]:
    """One forking supervisor for all tests: its server takes seconds to start."""
    with Supervisor("fork") as supervisor:
        yield supervisor


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Job]:
    """A function that makes the job in which the experiment does `action`, in `phase`."""

    def job(action: str, argument: str = "", phase: str = "compile", call_s: float = 0.0, **changes: Any) -> Job:
        named = {"action": action, "argument": argument, "phase": phase, "call_s": call_s}
        return job_of(tmp_path, {"_target_": "worker_toys.Steps", **named}, **changes)

    return job


@pytest.fixture
def make_loading(tmp_path: Path) -> Callable[..., Job]:
    """A function that makes the job whose model does `action` while it is loaded."""

    def job(action: str, argument: str = "") -> Job:
        suite = {"_target_": "worker_toys.ToyLoader", "action": action, "argument": argument}
        return job_of(tmp_path, {"_target_": "worker_toys.Loaded"}, suite=suite)

    return job
