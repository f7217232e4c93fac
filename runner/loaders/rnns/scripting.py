"""TorchScript for the runners that are about it, without its notice of deprecation."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch

from runner.errors import Unsupported


def script(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as TorchScript, compiled anew. Raises Unsupported where the installed torch doesn't do that."""
    assert isinstance(function, FunctionType)
    # torch keeps what it made of a function, together with the plan of the executor that was in force.
    copy = FunctionType(function.__code__, function.__globals__, function.__name__, None, function.__closure__)
    copy.__annotations__ = function.__annotations__
    scripted: Callable[..., Any] = _converted("script", copy)
    return scripted


def trace(model: torch.nn.Module, args: tuple[Any, ...]) -> torch.nn.Module:
    """`model` as traced with `args`. Raises Unsupported where the installed torch doesn't do that."""
    # The check would run it twice more, on a model in training whose batch norm changes with each run.
    traced: torch.nn.Module = _converted("trace", model, args, check_trace=False)
    return traced


def _converted(how: str, subject: Any, *args: Any, **options: Any) -> Any:
    convert = getattr(torch.jit, how, None)
    if convert is None:
        raise Unsupported(f"torch {torch.__version__} has no torch.jit.{how}: install an older torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        try:
            converted = convert(subject, *args, **options)
        except (RuntimeError, NotImplementedError) as error:
            raise Unsupported(f"torch {torch.__version__} can't torch.jit.{how} this runner: {error}") from error
    if converted is subject:
        raise Unsupported(f"TorchScript is switched off: torch.jit.{how} changed nothing; unset PYTORCH_JIT")
    return converted


def pointwise(x: torch.Tensor) -> torch.Tensor:
    """What every fuser would make one kernel of."""
    return (x * x + x).tanh().sigmoid() * x


def optimised(device: str, runs: int) -> str:
    """What the executor made of `pointwise` after so many runs, as text."""
    program, x = script(pointwise), torch.ones(64, 64, device=device)
    with torch.no_grad():
        for _ in range(runs):
            program(x)
    return str(torch.jit.last_executed_optimized_graph())  # type: ignore[attr-defined]
