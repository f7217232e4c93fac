"""Facts about the machine and the software that a run records; found without importing torch."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from runner.devices import detect, nvml
from runner.measure.tuning import available_cpus, format_cpu_list, physical_cores
from runner.results.columns import Row
from runner.worker.environment import tuning_of

#: Variables with these prefixes are recorded, and no others: an environment holds tokens.
RECORDED_PREFIXES = ("TORCH", "PYTORCH", "CUDA", "NCCL", "OMP", "MKL", "KMP", "TRITON", "LD_PRELOAD")
#: Not recorded even under those prefixes.
SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_KEY")
#: Recorded, but not part of env_id: they pick one of several equal devices, and differ between jobs of one sweep.
PICKS_A_DEVICE = re.compile(r".*_VISIBLE_DEVICES")
PACKAGES = (
    *("torch", "torchvision", "torchaudio", "torchao", "triton", "pytorch-triton", "timm", "transformers"),
    *("hydra-core", "omegaconf", "numpy", "pandas", "scipy", "psutil", "rich", "filelock", "nvidia-ml-py"),
    *("onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "submitit", "joblib", "ray"),
)


@dataclass(frozen=True)
class Environment:
    """What a run says about where it ran: all facts for run.json, their id, and what each row says of them."""

    facts: Mapping[str, Any]
    env_id: str
    columns: Row


def describe(config: Mapping[str, Any]) -> Environment:
    """The environment of a cell with this configuration. Raises UsageError for threads or CPUs that there are not."""
    name = device_name(config["device"])
    found = facts()
    decides = deciding(found, name, tuning_of(config).threads)
    return Environment({**found, "deciding": decides}, hashed(decides), {"device_name": name})


def device_name(device: Mapping[str, Any]) -> str:
    """Model name of the device that a cell asks for; of several that it may get, the first one's."""
    kind, index = device["type"], device.get("index") or 0
    if kind == "cpu":
        return detect.cpu_name()
    tokens = detect.visible(kind)
    uuid = detect.identity(kind, tokens[index]) if index < len(tokens) else None
    return next((gpu.name for gpu in nvml.gpus() if gpu.uuid == uuid), kind)


def facts(project: Path | None = None) -> dict[str, Any]:
    """Everything below as plain data; `project` is the folder whose git commit is of interest (default: this one).

    The host's name is among it, so that a noisy node of a cluster can be found; it goes to run.json, not to the CSV.
    """
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "host": platform.node(),
        "torch": torch_version(),
        "packages": package_versions(PACKAGES),
        "cpu": cpu(),
        "memory_bytes": psutil.virtual_memory().total,
        "driver": nvml.driver_version(),
        "gpus": [vars(gpu) for gpu in nvml.gpus()],
        "git": {"project": git(project or Path.cwd()), "runner": own_git()},
        "variables": variables(os.environ),
    }


def deciding(found: Mapping[str, Any], device: str, threads: int) -> dict[str, Any]:
    """What two runs must share for their numbers to be mixed, by name; `found` is what `facts` returned."""
    torch, recorded = found["torch"] or {}, found["variables"]
    variables = {key: value for key, value in recorded.items() if not PICKS_A_DEVICE.fullmatch(key)}
    return {"torch": torch.get("version"), "device": device, "threads": threads, "variables": variables}


def hashed(decides: Mapping[str, Any]) -> str:
    """The env_id: 12 hex digits of sha256 over the canonical JSON of what `deciding` returned."""
    canonical = json.dumps(decides, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode(errors="backslashreplace")).hexdigest()[:12]


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The recorded part of an environment, sorted; the value of what may be a secret isn't in it."""
    names = sorted(name for name in environ if name.startswith(RECORDED_PREFIXES))
    return {name: "(not recorded)" if SECRET.search(name.upper()) else environ[name] for name in names}


def torch_version() -> dict[str, str | None] | None:
    """Version, git commit and CUDA (HIP, XPU) version of the installed torch, read from its version.py; or None."""
    spec = importlib.util.find_spec("torch")
    folders = spec.submodule_search_locations if spec else None
    source = Path(next(iter(folders), "")) / "version.py" if folders else None
    if source is None or not source.exists():
        return None
    values = constants(source.read_text(encoding="utf-8"))
    found = {name: values.get(name) for name in ("git_version", "cuda", "hip", "xpu")}
    return {"version": values.get("__version__"), **found}


def constants(source: str) -> dict[str, Any]:
    """Names that a module's source binds to a constant."""
    found: dict[str, Any] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            found[ast.unparse(target)] = node.value.value
    return found


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of those of the packages that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def cpu() -> dict[str, Any]:
    """Model name, the CPUs that this process may use, and how many physical cores they are."""
    mask = available_cpus()
    return {
        "name": detect.cpu_name(),
        "machine": platform.machine(),
        "num_cpus": os.cpu_count(),
        "mask": format_cpu_list(mask),
        "num_cores": len(physical_cores(mask)),
    }


def git(folder: Path) -> dict[str, Any] | None:
    """Commit of the repository that holds `folder`, and whether tracked files differ from it; None outside of one."""
    commit = output(["git", "-C", os.fspath(folder), "rev-parse", "HEAD"])
    if not commit:
        return None
    changes = output(["git", "-C", os.fspath(folder), "status", "--porcelain", "--untracked-files=no"])
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def own_git() -> dict[str, Any] | None:
    """Commit of this program where it runs from a checkout; None where it is installed, be it inside another one."""
    here = Path(__file__)
    tracked = output(["git", "-C", os.fspath(here.parent), "ls-files", "--error-unmatch", here.name])
    return git(here.parent) if tracked else None


def output(command: list[str], limit_s: float = 10) -> str | None:
    """What a command printed, stripped; None where it failed, is missing or took longer than `limit_s`."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # a status must not get in the way of the user's own git
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=limit_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None
