"""What devices this machine has, found without importing torch or touching a device."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from runner.devices import nvml

_CPUINFO = Path("/proc/cpuinfo")


def resolve(kind: str) -> str:
    """The device type that `device.type` means: itself, or for `auto` the first of cuda, xpu, mps that is there."""
    if kind != "auto":
        return kind
    build = torch_build()
    if (build.get("cuda") or build.get("hip")) and visible("cuda"):
        return "cuda"
    if build.get("xpu") and visible("xpu"):
        return "xpu"
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "mps"
    return "cpu"


def torch_build() -> dict[str, str]:
    """What torch was built for, read from its version.py: keys cuda, hip, xpu where they have a value."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return {}
    version = Path(spec.origin).with_name("version.py")
    text = version.read_text(encoding="utf-8") if version.is_file() else ""
    return dict(re.findall(r"^(cuda|hip|xpu)\b[^=\n]*=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE))


def visible(kind: str) -> list[str]:
    """The devices of a type that this process may use, each as a token that its visible-devices variable takes."""
    variable = VISIBLE_VARIABLE.get(kind)
    given = os.environ.get(variable) if variable else None
    physical = _physical(kind)
    if given is None:
        return physical
    tokens: list[str] = []
    for token in map(str.strip, given.split(",")):
        if not token or (token.isdecimal() and int(token) >= len(physical)) or token.startswith("-"):
            break  # the drivers stop at the first token that names nothing
        tokens.append(token)
    return tokens


#: Variable by which a process is shown some devices only.
VISIBLE_VARIABLE = {"cuda": "CUDA_VISIBLE_DEVICES", "xpu": "ZE_AFFINITY_MASK"}


def identity(kind: str, token: str) -> str:
    """Name of the physical device behind a token of `visible`: the GPU's UUID where the driver tells it."""
    if kind != "cuda":
        return f"{kind}-{token}"
    known = nvml.gpus()
    for gpu in known:
        if token in (str(gpu.index), gpu.uuid) or (token.startswith("GPU-") and gpu.uuid.startswith(token)):
            return gpu.uuid
    return token if token.startswith("MIG-") else f"{kind}-{token}"


def _physical(kind: str) -> list[str]:
    if kind == "cuda":
        return [gpu.uuid for gpu in nvml.gpus()] or _numbers(_amd_gpus())
    if kind == "xpu":
        return _numbers(Path("/dev/dri").glob("renderD*"))
    return ["0"]


def _amd_gpus() -> list[Path]:
    nodes = Path("/sys/class/kfd/kfd/topology/nodes").glob("*/properties")
    return [node for node in nodes if re.search(r"^simd_count [1-9]", node.read_text(), re.MULTILINE)]  # 0: a CPU


def _numbers(found: Iterable[Path]) -> list[str]:
    return [str(index) for index, _ in enumerate(found)]


def facts(kind: str) -> dict[str, Any]:
    """About the machine, for run.json: cpu_name, num_cpus, memory_bytes, and the GPUs with uuid, driver, memory."""
    found: dict[str, Any] = {
        "cpu_name": cpu_name(),
        "num_cpus": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
    }
    if kind == "cuda":
        found["driver"] = nvml.driver_version()
        found["gpus"] = [vars(gpu) for gpu in nvml.gpus()]
    return found


def cpu_name() -> str:
    """Model name of the CPU."""
    text = _CPUINFO.read_text() if _CPUINFO.exists() else ""
    match = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine()
