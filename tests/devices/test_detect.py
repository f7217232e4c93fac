"""Finding devices without torch: a fake torch, fake GPUs, real environment variables."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from runner.devices import detect, nvml

GPUS = [nvml.Gpu(0, "GPU-aaaa-1", "H200", 1 << 37), nvml.Gpu(1, "GPU-bbbb-2", "H200", 1 << 37)]


@pytest.fixture
def torch_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that installs a torch whose version.py has the given lines."""

    def install(text: str) -> None:
        package = tmp_path / "torch"
        package.mkdir()
        (package / "__init__.py").write_text("raise ImportError('must not be imported')")
        (package / "version.py").write_text(text)
        spec = importlib.util.spec_from_file_location("torch", package / "__init__.py")
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)

    return install


@pytest.fixture
def _gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "gpus", lambda: tuple(GPUS))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


CUDA = "from typing import Optional\ncuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n"


@pytest.mark.usefixtures("_gpus")
def test_auto_with_gpu(torch_for, monkeypatch: pytest.MonkeyPatch) -> None:
    """auto is cuda where torch was built for it and a GPU is visible."""
    torch_for(CUDA)
    assert detect.resolve("auto") == "cuda"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert detect.resolve("auto") == "cpu"


@pytest.mark.usefixtures("_gpus")
def test_auto_with_cpu_build(torch_for) -> None:
    """A GPU is no use to a torch without CUDA; a named type is taken at its word."""
    torch_for("cuda: Optional[str] = None\nxpu = None\n")
    assert detect.resolve("auto") == "cpu"
    assert detect.resolve("cuda") == "cuda"


def test_auto_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch the device is the CPU: the child says what is missing."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert detect.resolve("auto") == "cpu"


@pytest.mark.parametrize("text", ["xpu: Optional[str] = '20250101'", "xpu = '1'"])
def test_build_is_read(text: str, torch_for) -> None:
    """Both spellings of version.py are understood."""
    torch_for(text)
    assert list(detect.torch_build()) == ["xpu"]


@pytest.mark.usefixtures("_gpus")
@pytest.mark.parametrize(
    ("given", "tokens"),
    [
        (None, ["GPU-aaaa-1", "GPU-bbbb-2"]),
        ("1", ["1"]),
        ("1, 0", ["1", "0"]),
        ("0,5,1", ["0"]),
        ("-1", []),
        ("", []),
        ("GPU-bbbb", ["GPU-bbbb"]),
        ("MIG-1234", ["MIG-1234"]),
    ],
)
def test_visible(given: str | None, tokens: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable narrows what is visible, and ends at the first token that names nothing."""
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert detect.visible("cuda") == tokens


@pytest.mark.usefixtures("_gpus")
@pytest.mark.parametrize(
    ("token", "name"),
    [
        ("1", "GPU-bbbb-2"),
        ("GPU-aaaa", "GPU-aaaa-1"),
        ("GPU-bbbb-2", "GPU-bbbb-2"),
        ("MIG-1234", "MIG-1234"),
        ("9", "cuda-9"),
    ],
)
def test_identity(token: str, name: str) -> None:
    """However a GPU is called, it is the same physical device."""
    assert detect.identity("cuda", token) == name


def test_facts() -> None:
    """The machine's facts name its CPU and memory."""
    facts = detect.facts("cpu")
    assert facts["cpu_name"]
    assert facts["num_cpus"] > 0
    assert facts["memory_bytes"] > 1 << 28
    assert "gpus" not in facts


def test_no_torch() -> None:
    """Detecting, leasing and the settings import no torch."""
    code = (
        "import sys, runner.devices.detect as d, runner.devices.lease, runner.devices.settings;"
        "d.resolve('auto'); d.facts('cuda'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent.parent, check=True)


def test_a_driver_that_tells_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that has no memory of its own is one all the same; whose processes can't be asked for has none."""

    class NotSupportedError(Exception):
        pass

    def refuse(_handle: object) -> None:
        raise NotSupportedError

    known = {
        "NVMLError": NotSupportedError,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlDeviceGetUUID": lambda _handle: "GPU-shared",
        "nvmlDeviceGetName": lambda _handle: "GB10",
        "nvmlDeviceGetMemoryInfo": refuse,
        "nvmlDeviceGetComputeRunningProcesses": refuse,
    }
    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(**known))
    nvml.gpus.cache_clear()
    try:
        assert nvml.gpus() == (nvml.Gpu(0, "GPU-shared", "GB10", None),)
        assert nvml.processes("GPU-shared") == []
    finally:
        nvml.gpus.cache_clear()
