"""Threads and CPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.measure import tuning


def topology(root: Path, siblings: dict[int, str]) -> Path:
    for cpu, text in siblings.items():
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(text + "\n")
    return root


@pytest.fixture
def four_cpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two cores with two hardware threads each."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _pid, _cpus: None, raising=False)
    return topology(tmp_path, {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"})


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", (0,)), ("0-3,8", (0, 1, 2, 3, 8)), ("3,1-2,2\n", (1, 2, 3)), (" 4 , 6", (4, 6))]
)
def test_cpu_lists_are_parsed(text: str, cpus: tuple[int, ...]) -> None:
    """Numbers and ranges, in any order, once each."""
    assert tuning.parse_cpu_list(text) == cpus


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-", "-1", "0,,1", "1-2-3"])
def test_other_lists_are_refused(text: str) -> None:
    """The message shows the form that is expected."""
    with pytest.raises(ValueError, match="0-3,8"):
        tuning.parse_cpu_list(text)


def test_cpu_lists_are_written_short() -> None:
    """The inverse of parsing."""
    assert tuning.format_cpu_list((8, 0, 1, 2, 3, 10, 11)) == "0-3,8,10-11"


def test_threads_are_physical_cores_one_cpu_each(four_cpus: Path) -> None:
    """Four CPUs on two cores: two threads, pinned to one CPU of each core."""
    tuned = tuning.tune(None, "inherit", four_cpus)
    assert (tuned.threads, tuned.cpus, tuned.affinity) == (2, (0, 1), "0-1")
    assert tuned.environment == {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}


def test_a_full_mask_is_left_as_it_is(four_cpus: Path) -> None:
    """As many threads as CPUs: nothing to pin."""
    tuned = tuning.tune(4, "inherit", four_cpus)
    assert (tuned.threads, tuned.cpus, tuned.affinity) == (4, None, "inherit")


def test_three_threads_take_every_core_first(four_cpus: Path) -> None:
    """The second CPU of a core is used last."""
    assert tuning.tune(3, "inherit", four_cpus).cpus == (0, 1, 2)


def test_a_list_pins_and_counts_its_cores(four_cpus: Path) -> None:
    """CPUs 0 and 2 are one core: one thread unless asked otherwise."""
    assert tuning.tune(None, "0,2", four_cpus) == tuning.Tuning(1, (0, 2))
    assert tuning.tune(2, "0,2", four_cpus) == tuning.Tuning(2, (0, 2))


def test_more_than_the_mask_allows_is_refused(four_cpus: Path) -> None:
    """Threads beyond the mask and CPUs outside it, each in one sentence."""
    with pytest.raises(ValueError, match=r"measure\.threads is 5 .* CPUs 0-3 .* at most 4"):
        tuning.tune(5, "inherit", four_cpus)
    with pytest.raises(ValueError, match=r"measure\.affinity is 0,7 .* CPUs 0-3"):
        tuning.tune(None, "0,7", four_cpus)


def test_without_a_topology_every_cpu_is_a_core(four_cpus: Path, tmp_path: Path) -> None:
    """As in many containers."""
    assert four_cpus == tmp_path
    assert tuning.physical_cores((0, 1), tmp_path / "empty") == [(0,), (1,)]


def test_without_affinity_calls_nothing_is_pinned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """macOS: all CPUs count, a list is refused."""
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert tuning.tune(2, "inherit", tmp_path) == tuning.Tuning(2, None)
    with pytest.raises(ValueError, match="needs Linux"):
        tuning.tune(None, "0", tmp_path)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_pinning_holds() -> None:
    """A process that pins itself to one CPU of its mask runs there."""
    program = (
        "import os\nfrom runner.measure.tuning import Tuning, available_cpus\n"
        "cpu = available_cpus()[-1]\nTuning(1, None).pin()\nTuning(1, (cpu,)).pin()\n"
        "assert os.sched_getaffinity(0) == {cpu}"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_cpu_sets(tmp_path: Path) -> None:
    """Several lists are several sets; `numa` has one per node, of the CPUs that this process may use."""
    assert tuning.cpu_sets("0-1|2,4") == [(0, 1), (2, 4)]
    assert tuning.cpu_sets("numa", tmp_path) == [tuning.available_cpus()]
    for node, cpus in enumerate(("0\n", "100000\n")):
        folder = tmp_path / f"sys/devices/system/node/node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(cpus)
    assert tuning.cpu_sets("numa", tmp_path) == [(0,)]
