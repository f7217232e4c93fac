"""TorchScript's global switches: which executor runs a program and which fuser joins its pointwise operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any


class Executor(str, Enum):
    """Who runs a TorchScript program; upstream's values."""

    default = "default"  # as torch has it
    profiling = "profiling"  # specialises after the first runs
    simple = "simple"  # no optimisation
    legacy = "legacy"  # optimises without profiling


class Fuser(str, Enum):
    """Who joins pointwise operations of a TorchScript program; upstream's values."""

    default = "default"  # as torch has it
    te = "te"  # tensor expressions
    old = "old"  # the first one; needs the legacy executor and takes it unless another is asked for
    none = "none"


@dataclass(frozen=True)
class Tuning:
    """How tensor expressions generate pointwise kernels for an accelerator; None leaves torch's own choice."""

    loop_level: int | None = None
    block_count: int | None = None
    block_size: int | None = None


#: Private functions of torch._C that set a switch and return what it was.
_SETTERS = {
    "profiling": "_jit_set_profiling_executor",
    "optimise": "_set_graph_executor_optimize",
    "te": "_jit_set_texpr_fuser_enabled",
    "fuse_cpu": "_jit_override_can_fuse_on_cpu",
    "fuse_cpu_old": "_jit_override_can_fuse_on_cpu_legacy",
    "fuse_accelerator": "_jit_override_can_fuse_on_gpu",
    "loop_level": "_jit_set_te_cuda_pointwise_loop_levels",
    "block_count": "_jit_set_te_cuda_pointwise_block_count",
    "block_size": "_jit_set_te_cuda_pointwise_block_size",
}
_GETTERS = {
    "optimise": "_get_graph_executor_optimize",
    "te": "_jit_texpr_fuser_enabled",
    "fuse_cpu": "_jit_can_fuse_on_cpu",
    "fuse_cpu_old": "_jit_can_fuse_on_cpu_legacy",
    "fuse_accelerator": "_jit_can_fuse_on_gpu",
    "loop_level": "_jit_get_te_cuda_pointwise_loop_levels",
    "block_count": "_jit_get_te_cuda_pointwise_block_count",
    "block_size": "_jit_get_te_cuda_pointwise_block_size",
}
#: `te` leaves fuse_cpu alone: torch has it on where it was built with LLVM, and fails to run programs elsewhere.
_FUSERS: dict[Fuser, dict[str, bool]] = {
    Fuser.default: {},
    Fuser.te: {"te": True, "fuse_accelerator": True, "profiling": True, "optimise": True},
    Fuser.old: {"te": False, "fuse_cpu_old": True, "fuse_accelerator": True, "profiling": False, "optimise": True},
    Fuser.none: {"te": False, "fuse_cpu": False, "fuse_cpu_old": False, "fuse_accelerator": False},
}
_EXECUTORS: dict[Executor, dict[str, bool]] = {
    Executor.default: {},
    Executor.profiling: {"profiling": True, "optimise": True},
    Executor.simple: {"optimise": False},
    Executor.legacy: {"profiling": False, "optimise": True},
}
#: Runs until the profiling executor has specialised a program, and one more.
_PROBE_RUNS = 4


def apply(executor: Executor, fuser: Fuser, tuning: Tuning, device: str) -> tuple[str, ...]:
    """Set the switches for this process; returns a flag for each request that changes nothing in this torch.

    What isn't asked for is as torch had it when this was first called.
    """
    asked: dict[str, Any] = {**_FUSERS[fuser], **_EXECUTORS[executor]}
    tuned = {name: value for name, value in vars(tuning).items() if value is not None}
    present = {name for name in _SETTERS if _function(_SETTERS[name]) is not None}
    for name, value in {**_as_torch_has_it(), **asked, **tuned}.items():
        if name in present:
            _set(name, value)
    fuses = fuser in (Fuser.default, Fuser.none) or _fuses(device)
    words = {
        "executor_without_effect": not _EXECUTORS[executor].keys() <= present,
        "fuser_without_effect": not fuses or not _FUSERS[fuser].keys() <= present,
        "te_tuning_without_effect": bool(tuned) and not (tuned.keys() <= present and _tunes(fuser, device)),
    }
    return tuple(word for word, holds in words.items() if holds)


def ignored(executor: Executor, fuser: Fuser, tuning: Tuning) -> tuple[str, ...]:
    """The flags of a runner that isn't TorchScript: everything that is asked for is without effect."""
    words = {
        "executor_without_effect": executor is not Executor.default,
        "fuser_without_effect": fuser is not Fuser.default,
        "te_tuning_without_effect": tuning != Tuning(),
    }
    return tuple(word for word, holds in words.items() if holds)


@cache
def _as_torch_has_it() -> dict[str, Any]:
    """Every switch that can be read or, like `profiling`, tells what it was when it is set."""
    found = {name: read() for name, getter in _GETTERS.items() if (read := _function(getter)) is not None}
    if _function(_SETTERS["profiling"]) is not None:
        before = _set("profiling", True)
        _set("profiling", before)
        found["profiling"] = before
    return found


def _set(name: str, value: Any) -> Any:
    function = _function(_SETTERS[name])
    assert function is not None
    return function(value)


def _function(name: str) -> Callable[..., Any] | None:
    import torch

    return getattr(torch._C, name, None)


def _tunes(fuser: Fuser, device: str) -> bool:
    """Whether tensor expressions make kernels for this device, which isn't the CPU."""
    return not device.startswith("cpu") and fuser in (Fuser.default, Fuser.te) and _fuses(device)


def _fuses(device: str) -> bool:
    """Whether a small TorchScript program gets a fused kernel with the switches as they are."""
    from runner.loaders.rnns.scripting import optimised

    graph = optimised(device, _PROBE_RUNS)
    return "FusionGroup" in graph or "TensorExprGroup" in graph
