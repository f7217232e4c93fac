"""Facts about machine and software."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner import environment
from runner.devices.nvml import Gpu
from runner.errors import UsageError


def found(version: str = "2.13.0", **variables: str) -> dict[str, Any]:
    """Facts as far as env_id reads them."""
    return {"torch": {"version": version, "cuda": "13.0"}, "variables": variables, "host": "x"}


@pytest.mark.parametrize(
    ("facts", "device", "threads", "expected"),
    [
        (found(), "AMD EPYC", 2, "5ded884f271d"),
        (found(), "NVIDIA H200", 16, "c33ba59a1b2c"),
        (found(OMP_NUM_THREADS="4"), "AMD EPYC", 2, "e90a4046ec36"),
    ],
)
def test_env_id_vectors(facts: dict[str, Any], device: str, threads: int, expected: str) -> None:
    """The id of given facts never changes between versions: stored results are compared by it."""
    assert environment.hashed(environment.deciding(facts, device, threads)) == expected


def test_what_decides() -> None:
    """Torch, device, threads and each variable count; the host, and which of equal devices is visible, don't."""
    base = environment.deciding(found(), "cpu", 2)
    assert environment.deciding(found("2.14.0a0+git"), "cpu", 2) != base
    assert environment.deciding(found(), "gpu", 2) != base
    assert environment.deciding(found(), "cpu", 4) != base
    assert environment.deciding(found(TORCH_LOGS=""), "cpu", 2) != base
    assert environment.deciding({**found(CUDA_VISIBLE_DEVICES="3"), "host": "y"}, "cpu", 2) == base
    assert environment.deciding({"torch": None, "variables": {}}, "cpu", 2)["torch"] is None


def test_describe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell's environment: facts with what decides among them, its hash, and the device's name for the row."""
    monkeypatch.setattr(environment.detect, "cpu_name", lambda: "AMD EPYC")
    config = {"device": {"type": "cpu"}, "measure": {"threads": 1, "affinity": "inherit"}}
    described = environment.describe(config)
    assert described.columns == {"device_name": "AMD EPYC"}
    assert described.facts["deciding"]["threads"] == 1
    assert described.env_id == environment.hashed(described.facts["deciding"])
    with pytest.raises(UsageError, match="threads"):
        environment.describe({**config, "measure": {"threads": 10_000}})


@pytest.mark.parametrize(
    ("device", "visible", "name"),
    [
        ({"type": "cuda"}, None, "NVIDIA H200"),
        ({"type": "cuda", "index": 1}, None, "NVIDIA L4"),
        ({"type": "cuda"}, "1", "NVIDIA L4"),
        ({"type": "cuda", "index": 5}, None, "cuda"),
        ({"type": "mps"}, None, "mps"),
    ],
)
def test_device_name(monkeypatch: pytest.MonkeyPatch, device: dict[str, Any], visible: str | None, name: str) -> None:
    """The name is that of the visible GPU with this index; the type where the driver doesn't know it."""
    cards = [Gpu(0, "GPU-a", "NVIDIA H200", 1), Gpu(1, "GPU-b", "NVIDIA L4", 1)]
    monkeypatch.setattr(environment.nvml, "gpus", lambda: cards)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert environment.device_name(device) == name


def test_only_listed_variables_are_recorded() -> None:
    """Nothing outside the prefixes is recorded, and no value of what may be a secret within them."""
    environ = {"TORCH_LOGS": "dynamo", "HOME": "/root", "AWS_TOKEN": "t", "MKL_X": "1", "TORCH_HUB_token": "t"}
    expected = {"MKL_X": "1", "TORCH_HUB_token": "(not recorded)", "TORCH_LOGS": "dynamo"}
    assert environment.variables(environ) == expected


def test_facts_are_plain_and_found_without_torch() -> None:
    """All facts go into JSON as they are, the time to find them doesn't include importing torch."""
    program = "import json, sys; from runner import environment; f = environment.facts(); json.dumps(f); "
    program += "print(sorted({'torch', 'numpy', 'pandas'} & set(sys.modules)), f['torch']['version'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "[]"
    assert done.stdout.split()[1] == environment.package_versions(["torch"])["torch"]


def test_torch_is_read_from_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version, commit and CUDA come from version.py, which isn't run; no torch is None."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise RuntimeError")
    source = "raise_ = 1 / 0\n__version__ = '2.14.0a0+git'\ncuda: str | None = '13.0'\ngit_version = 'abc'\n"
    (tmp_path / "torch" / "version.py").write_text(source)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    expected = {"version": "2.14.0a0+git", "git_version": "abc", "cuda": "13.0", "hip": None, "xpu": None}
    assert environment.torch_version() == expected
    (tmp_path / "torch" / "version.py").unlink()
    assert environment.torch_version() is None
    monkeypatch.setattr(sys, "path", [])
    assert environment.torch_version() is None


def test_git(tmp_path: Path) -> None:
    """Commit and whether tracked files were changed; None outside of a repository and before its first commit."""
    run = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y"]
    assert environment.git(tmp_path) is None
    subprocess.run([*run, "init", "-q"], check=True)
    assert environment.git(tmp_path) is None
    (tmp_path / "file").write_text("1")
    subprocess.run([*run, "add", "file"], check=True)
    subprocess.run([*run, "commit", "-q", "-m", "x"], check=True)
    (tmp_path / "untracked").touch()
    clean = environment.git(tmp_path)
    assert clean is not None
    assert (len(clean["commit"]), clean["dirty"]) == (40, False)
    (tmp_path / "file").write_text("2")
    assert environment.git(tmp_path) == {"commit": clean["commit"], "dirty": True}


def test_missing_and_failing_commands() -> None:
    """A command that is missing, fails or takes too long has no output."""
    assert environment.output(["no-such-program"]) is None
    assert environment.output(["false"]) is None
    assert environment.output(["sleep", "30"], limit_s=0.01) is None
    assert json.loads(environment.output(["echo", "[1]"]) or "") == [1]
    assert "GIT_OPTIONAL_LOCKS" not in os.environ
