"""Leases between real processes: exclusive, shared, disjoint, released by death."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.devices import detect, lease, nvml
from runner.devices.lease import folder
from runner.errors import UsageError

ROOT = Path(__file__).parent.parent.parent
HOLDER = """
import sys; from pathlib import Path; from runner.devices import detect, lease
from runner.devices.lease import folder
lease.folder = lambda: Path(sys.argv[1])
detect.visible = lambda kind: ["GPU-a", "GPU-b"] if kind == "cuda" else ["0"]
detect.identity = lambda kind, token: f"{kind}-{token}"
node, cpus, count = eval(sys.argv[2])
with lease.lease(node, cpus, lambda text: print(text, flush=True), lambda: None, count=count) as held:
    print(dict(held.device), dict(held.env), flush=True)
    sys.stdin.read()
"""


class Impatient(Exception):  # noqa: N818 - a person's state
    """Instead of waiting."""


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A function that lets another process hold a lease, and returns it once it has it."""
    started: list[subprocess.Popen[str]] = []

    def start(node: dict[str, object], cpus: list[int], count: int = 1) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, str(tmp_path), repr((node, cpus, count))]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline().startswith("{")
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def _two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "folder", lambda: tmp_path)
    monkeypatch.setattr(detect, "visible", lambda kind: ["GPU-a", "GPU-b"] if kind == "cuda" else ["0"])
    monkeypatch.setattr(detect, "identity", lambda kind, token: f"{kind}-{token}")


def attempt(node: dict[str, object], cpus: list[int], own_process: bool = True, count: int = 1) -> lease.Lease | str:
    """The lease, given back at once, or what is said when it has to wait."""
    said: list[str] = []

    def check() -> None:
        raise Impatient

    try:
        with lease.lease(node, cpus, said.append, check, own_process, count=count) as held:
            return held
    except Impatient:
        return said[0]


CPU, ANY, FIRST = {"type": "cpu"}, {"type": "cuda"}, {"type": "cuda", "index": 0}


def test_cpu_is_exclusive(hold: Callable[..., subprocess.Popen[str]]) -> None:
    """CPUs that somebody measures on are not leased again, in whole or in part; disjoint ones are."""
    holder = hold(CPU, [0, 1])
    assert attempt(CPU, [1, 2]) == f"waiting for CPU 1, held by pid {holder.pid}"
    assert attempt(ANY, [1]) == f"waiting for CPU 1, held by pid {holder.pid}"
    assert isinstance(attempt(CPU, [2, 3]), lease.Lease)
    assert isinstance(attempt(FIRST, [2]), lease.Lease)


def test_each_job_its_gpu(hold: Callable[..., subprocess.Popen[str]]) -> None:
    """Jobs without an index take free GPUs, on the same CPUs; each sees its own only, as number 0."""
    holder = hold(ANY, [0, 1])
    second = attempt(ANY, [0, 1])
    assert second == lease.Lease({"type": "cuda", "index": 0}, {"CUDA_VISIBLE_DEVICES": "GPU-b"})
    assert attempt(FIRST, [0]) == f"waiting for cuda:0, held by pid {holder.pid}"
    other = hold(ANY, [0, 1])
    assert attempt(ANY, [0, 1]) == f"waiting for cuda:1, held by pid {other.pid}"
    assert attempt(CPU, [0]).startswith("waiting for CPU 0")


def test_several_gpus(hold: Callable[..., subprocess.Popen[str]]) -> None:
    """A cell that spans devices gets all of them or waits; while it waits it holds none."""
    both = {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}
    assert attempt(ANY, [0], count=2) == lease.Lease({"type": "cuda", "index": 0}, both)
    holder = hold(ANY, [0])
    assert attempt(ANY, [0], count=2) == f"waiting for cuda:0, held by pid {holder.pid}"
    assert attempt(ANY, [0]).env == {"CUDA_VISIBLE_DEVICES": "GPU-b"}
    holder.kill()
    holder.wait()
    hold(ANY, [0], 2)
    assert attempt(ANY, [0]).startswith("waiting for cuda:1")


def test_more_gpus_than_there_are() -> None:
    """They are leased under their numbers: the rank that has none says so."""
    assert attempt(ANY, [0], count=3) == lease.Lease({"type": "cuda", "index": 0}, {})


def test_one_of_several_cpu_sets(hold: Callable[..., subprocess.Popen[str]]) -> None:
    """Of several sets a free one is taken, and the device node says which."""
    sets = [(0, 1), (2, 3)]
    assert attempt({**CPU, "cpus": "0-1|2-3"}, sets).device["cpus"] == "0-1"
    holder = hold(CPU, [1])
    assert attempt({**CPU, "cpus": "0-1|2-3"}, sets).device["cpus"] == "2-3"
    other = hold(CPU, [3])
    assert attempt({**CPU, "cpus": "0-1|2-3"}, sets) == f"waiting for CPU 3, held by pid {other.pid}"
    assert holder.poll() is None


def test_named_cpus_are_exclusive(hold: Callable[..., subprocess.Popen[str]]) -> None:
    """Jobs on GPUs that name their CPUs don't share them."""
    holder = hold({**ANY, "cpus": "0-1"}, [0, 1])
    assert attempt({**ANY, "cpus": "1-2"}, [1, 2]) == f"waiting for CPU 1, held by pid {holder.pid}"
    assert attempt({**ANY, "cpus": "2-3"}, [2, 3]).env == {"CUDA_VISIBLE_DEVICES": "GPU-b"}


def test_a_foreign_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who computes on a GPU that was free to lease is no runner: the row gets a flag."""
    monkeypatch.setattr(nvml, "processes", lambda uuid: [4242] if uuid == "cuda-GPU-a" else [])
    assert attempt(FIRST, [0]).flags == ("gpu_in_use",)
    assert attempt({"type": "cuda", "index": 1}, [0]).flags == ()


def test_within_this_process() -> None:
    """Where the environment comes too late, the device is told apart by its index."""
    assert attempt({"type": "cuda", "index": 1}, [0], own_process=False) == lease.Lease(
        {"type": "cuda", "index": 1}, {}
    )


def test_released_by_death(hold: Callable[..., subprocess.Popen[str]]) -> None:
    """The lease of a killed process is free at once, and a failed attempt leaves nothing locked."""
    holder = hold(CPU, [0, 1])
    assert isinstance(attempt(CPU, [1, 0]), str)
    holder.kill()
    holder.wait()
    assert isinstance(attempt(CPU, [0, 1]), lease.Lease)


def test_waits_until_free(hold: Callable[..., subprocess.Popen[str]]) -> None:
    """Waiting ends with the holder, and is announced once."""
    holder = hold(CPU, [0])
    said: list[str] = []
    with lease.lease(CPU, [0], said.append, holder.kill):
        assert said == [f"waiting for CPU 0, held by pid {holder.pid}"]


def test_other_types(hold: Callable[..., subprocess.Popen[str]]) -> None:
    """A type whose devices we can't count is one device, and its node is left as it is."""
    assert attempt({"type": "toy"}, [0]) == lease.Lease({"type": "toy"}, {})
    holder = hold({"type": "toy"}, [0])
    assert attempt({"type": "toy"}, [1]) == f"waiting for toy:0, held by pid {holder.pid}"


def test_unknown_index() -> None:
    """An index beyond the devices is leased under its name: the child then says what torch sees."""
    assert attempt({"type": "cuda", "index": 7}, [0]) == lease.Lease({"type": "cuda", "index": 7}, {})


def test_cleaned_folder(tmp_path: Path) -> None:
    """A lock file that was deleted under its holder is made anew."""
    with lease.lease(CPU, [0], print, lambda: None):
        for path in tmp_path.iterdir():
            path.unlink()
    assert isinstance(attempt(CPU, [0]), lease.Lease)


def test_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks lie in a private folder of the user, below the temporary directory; a planted link is refused."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert folder() == tmp_path / f"torch-benchmark-runner-{os.getuid()}"
    assert folder().stat().st_mode & 0o777 == 0o700
    folder().rmdir()
    (tmp_path / f"torch-benchmark-runner-{os.getuid()}").symlink_to("/")
    with pytest.raises(UsageError, match="belongs to somebody else"):
        folder()
