"""What limits of a container or a batch system leave, in made-up trees of /proc and /sys/fs/cgroup."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from runner.measure.cgroups import folders, free_bytes

MIB = 2**20
V1_NO_LIMIT = "9223372036854771712"


def tree(root: Path, own: str, files: dict[str, str]) -> Path:
    """A system whose process is in the cgroup `own`, with these files below /sys/fs/cgroup."""
    groups = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in {"proc/self/cgroup": own, **groups}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def v2(folder: str, limit: str, used: int, cache: int) -> dict[str, str]:
    return {
        f"{folder}memory.max": limit,
        f"{folder}memory.current": str(used),
        f"{folder}memory.stat": f"anon 1\ninactive_file {cache}\nactive_file 9",
    }


def v1(folder: str, limit: str, used: int, cache: int) -> dict[str, str]:
    return {
        f"memory/{folder}memory.limit_in_bytes": limit,
        f"memory/{folder}memory.usage_in_bytes": str(used),
        f"memory/{folder}memory.stat": f"inactive_file 0\ntotal_inactive_file {cache}",
    }


@pytest.mark.parametrize(
    ("own", "files"),
    [
        ("0::/", v2("", str(10 * MIB), 8 * MIB, 3 * MIB)),
        ("0::/job/step", {**v2("job/", str(10 * MIB), 8 * MIB, 3 * MIB), **v2("job/step/", "max", 7 * MIB, 0)}),
        ("0::/of/the/host", v2("", str(10 * MIB), 8 * MIB, 3 * MIB)),
        ("5:cpu:/\n4:memory:/docker/abc\n0::/", v1("", str(10 * MIB), 8 * MIB, 3 * MIB)),
        (
            "4:cpu,memory:/slurm/job",
            {**v1("", V1_NO_LIMIT, 99 * MIB, 0), **v1("slurm/job/", str(10 * MIB), 8 * MIB, 3 * MIB)},
        ),
    ],
    ids=["v2 container", "v2 job", "v2 path of the host", "v1 container", "v1 job"],
)
def test_a_limit_leaves_less_than_the_machine_has(tmp_path: Path, own: str, files: dict[str, str]) -> None:
    """The limit of the cgroup or of one that it lies in, less what is used, but for the cache that can be dropped."""
    assert free_bytes(tree(tmp_path, own, files)) == 5 * MIB


def test_a_limit_that_is_exceeded_leaves_nothing(tmp_path: Path) -> None:
    """Memory may be over a limit that was lowered: there is none left, and not less than none."""
    assert free_bytes(tree(tmp_path, "0::/", v2("", str(MIB), 2 * MIB, 0))) == 0


@pytest.mark.parametrize("files", [{}, v2("", "max", 8 * MIB, 0), v1("", V1_NO_LIMIT, 8 * MIB, 0)])
def test_without_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """It is what the machine has."""
    here = psutil.virtual_memory()
    monkeypatch.setattr("psutil.virtual_memory", lambda: here)
    assert free_bytes(tree(tmp_path, "4:memory:/\n0::/", files)) == here.available
    assert free_bytes(tmp_path / "not Linux") == here.available


def test_the_own_cgroup_comes_first(tmp_path: Path) -> None:
    """Then those it lies in, as far as its tree goes."""
    found = folders(tree(tmp_path, "0::/job/step", {}))
    assert [str(folder.relative_to(tmp_path)) for folder in found] == [
        *("sys/fs/cgroup/job/step", "sys/fs/cgroup/job", "sys/fs/cgroup"),
    ]
