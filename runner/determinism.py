"""torch's settings that make two runs of a model give the same numbers, for a while, and verified to be off again.

The parent reads ENVIRONMENT, so torch is imported where it is used.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.workload import Workload

#: What the environment of a process must have, before cuBLAS starts, for the same sums in the same order.
ENVIRONMENT = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
_NO_DETERMINISTIC_WAY = "does not have a deterministic implementation"


@dataclass(frozen=True)
class _Setting:
    name: str
    value: Any
    read: Callable[[], Any]
    write: Callable[[Any], object]


def _attribute(name: str, owner: Any, key: str, value: Any) -> _Setting:
    return _Setting(name, value, lambda: getattr(owner, key), lambda new: setattr(owner, key, new))


def _read_algorithms() -> tuple[bool, bool]:
    import torch

    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _write_algorithms(value: tuple[bool, bool]) -> None:
    import torch

    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _no_tf32() -> tuple[_Setting, ...]:
    from torch import backends

    return (
        _attribute("no_cudnn_tf32", backends.cudnn, "allow_tf32", value=False),
        _attribute("no_matmul_tf32", backends.cuda.matmul, "allow_tf32", value=False),
    )


def _fallback_random() -> _Setting:
    from torch._inductor import config as inductor

    return _attribute("fallback_random", inductor, "fallback_random", value=True)


def _settings(seed: int, *, algorithms: bool) -> tuple[_Setting, ...]:
    """Those of dynamobench's accuracy mode, with its value for each; `algorithms` False leaves out the first.

    Operators that have no deterministic implementation warn rather than raise.
    """
    import torch

    backends, seeding = torch.backends, torch.manual_seed
    math = backends.cuda.fp16_bf16_reduction_math_sdp_allowed
    allow_math: Any = backends.cuda.allow_fp16_bf16_reduction_math_sdp
    first = _Setting("algorithms", (True, True), _read_algorithms, _write_algorithms)
    return (
        *([first] if algorithms else []),
        _attribute("cudnn", backends.cudnn, "deterministic", value=True),
        _attribute("no_cudnn_benchmark", backends.cudnn, "benchmark", value=False),
        _attribute("mkldnn", backends.mkldnn, "deterministic", value=True),
        *_no_tf32(),
        _Setting("no_reduced_sdp", False, math, allow_math),
        _fallback_random(),
        _attribute("manual_seed", torch, "manual_seed", lambda _seed: seeding(seed)),
    )


@dataclass
class Applied:
    """What is set, by name, and the words for column `flags` once it has ended."""

    names: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        """The names for a column."""
        return ";".join(self.names)


@contextmanager
def deterministic(seed: int, *, algorithms: bool = True) -> Iterator[Applied]:
    """Set everything, yield what took effect, and undo it; RuntimeError if something can't be undone.

    With `algorithms` False torch isn't asked for deterministic ones: some models need others.

    `torch.manual_seed` gives `seed` whatever it is called with: a model that seeds by the clock repeats itself too.
    """
    settings = _settings(seed, algorithms=algorithms)
    before = {s.name: s.read() for s in settings}
    applied = Applied()
    try:
        for setting in settings:
            setting.write(setting.value)
        applied.names += [s.name for s in settings if s.read() == s.value]
        applied.names += [key.lower() for key, value in ENVIRONMENT.items() if os.environ.get(key) == value]
        with _listening(applied):
            yield applied
        if any(s.read() != s.value for s in settings if s.name in applied.names):
            applied.flags.append("model_changed_settings")
    finally:
        for setting in settings:
            setting.write(before[setting.name])
    left = [s.name for s in settings if s.read() != before[s.name]]
    if left:
        raise RuntimeError(f"settings that could not be put back: {', '.join(left)}")


@contextmanager
def as_asked(workload: Workload, seed: int, *, wanted: bool) -> Iterator[Applied]:
    """`deterministic` as the workload's policy has it, or nothing where it is not `wanted`."""
    if not wanted:
        yield Applied()
        return
    with deterministic(seed, algorithms=workload.policy.deterministic_algorithms is not False) as applied:
        yield applied


@contextmanager
def without_tf32() -> Iterator[None]:
    """Convolutions and matrix products in full fp32 meanwhile, on devices that would round to TF32."""
    with _in_force(_no_tf32()):
        yield


@contextmanager
def fallback_random() -> Iterator[None]:
    """What inductor compiles meanwhile draws the random numbers that eager draws; that may cost it speed."""
    with _in_force((_fallback_random(),)):
        yield


@contextmanager
def _in_force(settings: tuple[_Setting, ...]) -> Iterator[None]:
    before = [s.read() for s in settings]
    try:
        for setting in settings:
            setting.write(setting.value)
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.write(value)


@contextmanager
def _listening(applied: Applied) -> Iterator[None]:
    """Note when torch warns of an operator that can't be made deterministic."""
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=f".*{_NO_DETERMINISTIC_WAY}")
        shown = warnings.showwarning

        def show(message: Any, *rest: Any, **more: Any) -> None:
            if _NO_DETERMINISTIC_WAY in str(message) and "nondeterministic_operator" not in applied.flags:
                applied.flags.append("nondeterministic_operator")
            shown(message, *rest, **more)

        warnings.showwarning = show
        yield
