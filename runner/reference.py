"""The same workload in a wider dtype, as the yard-stick that both eager and a backend are held against."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from runner.workload import Mode, Precision, Workload, map_tensors


def is_low_precision(workload: Workload) -> bool:
    """Whether the workload computes in less than float32, wholly or under autocast."""
    return workload.precision.autocast or workload.precision.dtype not in ("float32", "float64")


def wider_dtypes(workload: Workload) -> dict[str, torch.dtype]:
    """Dtypes worth having as a reference, best first, by the word for column `reference`."""
    if workload.precision.dtype == "float64":
        return {}
    return {"fp64": torch.float64, **({"fp32": torch.float32} if is_low_precision(workload) else {})}


def needed_bytes(workload: Workload, dtype: torch.dtype) -> int:
    """Least memory that a reference run takes, activations not counted: weights, and what a training step adds."""
    numel = sum(t.numel() for t in (*workload.parameters().values(), *workload.buffers().values()))
    training = workload.mode is Mode.training
    copies = 1 + (2 if training else 0) + (2 if workload.optimizer is not None and training else 0)
    return numel * dtype.itemsize * copies


def widened(workload: Workload, dtype: torch.dtype) -> Workload:
    """A deep copy of the workload, optimizer and loss included, computing in `dtype` without autocast.

    Raises whatever the model's own deep copy raises.
    """
    model, optimizer, loss = copy.deepcopy((workload.model, workload.optimizer, workload.loss))
    for part in (model, loss):
        _widen_module(part, dtype)
    if optimizer is not None:
        _widen_optimizer(optimizer, dtype)
    args, kwargs = map_tensors(lambda t: _widen_input(t, dtype), (workload.args, workload.kwargs))
    precision = Precision(str(dtype), str(dtype).removeprefix("torch."))
    return replace(workload, model=model, optimizer=optimizer, loss=loss, args=args, kwargs=kwargs, precision=precision)


def widen(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`tensor` in `dtype` (complex: in its complex kin); tensors of whole numbers as they are."""
    if tensor.is_complex():
        return tensor.to(dtype.to_complex())
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _widen_input(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return widen(tensor.detach().clone(), dtype).requires_grad_(tensor.requires_grad)


def _widen_module(module: Any, dtype: torch.dtype) -> None:
    for part in module.modules() if isinstance(module, torch.nn.Module) else ():
        own = [*part._parameters.values(), *part._buffers.values(), *vars(part).values()]
        for tensor in own:
            if isinstance(tensor, torch.Tensor):
                tensor.data = widen(tensor.data, dtype)


def _widen_optimizer(optimizer: torch.optim.Optimizer, dtype: torch.dtype) -> None:
    for state in optimizer.state.values():
        for key, value in state.items():
            if isinstance(value, torch.Tensor) and key != "step":
                state[key] = widen(value, dtype)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make `dtype` what new tensors are, so that tensors which a model creates fit its widened parameters."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
