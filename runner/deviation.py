"""How far two runs of a model are apart, element by element: |reference - result| / (1 + |reference|)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from runner import reference
from runner.collect import Result
from runner.compare_outputs import CHUNK
from runner.workload import Workload, map_tensors


@dataclass(frozen=True)
class Deviation:
    """Over all elements of all tensors. An element that is finite on one side only counts as infinitely far."""

    max: float | None = None
    mean: float | None = None
    std: float | None = None
    num_elements: int = 0
    worst_tensor: str = ""


def deviation(result: Result, against: Result) -> Deviation:
    """Of `result` from `against`, over outputs, losses, gradients, buffers and parameters; of every dtype."""
    total = squares = 0.0
    count, largest, worst = 0, -1.0, ""
    for path, errors in _errors(result, against):
        total, squares = total + errors.sum().item(), squares + errors.square().sum().item()
        count, top = count + errors.numel(), errors.max().item()
        if top > largest:
            largest, worst = top, path
    if not count:
        return Deviation()
    mean = total / count
    variance = max(squares / count - mean * mean, 0.0) if math.isfinite(mean) else math.nan
    return Deviation(largest, mean, math.sqrt(variance), count, worst)


def _errors(result: Result, against: Result) -> Iterator[tuple[str, torch.Tensor]]:
    for name, flat in against.groups.items():
        for path, leaf in flat.items():
            if isinstance(leaf, torch.Tensor) and leaf.numel():
                for ours, theirs in zip(_pieces(result.groups[name][path]), _pieces(leaf), strict=True):
                    yield path, relative_errors(ours, theirs)


def relative_errors(result: torch.Tensor, against: torch.Tensor) -> torch.Tensor:
    """Element by element in float64; NaN equals NaN, and an infinity itself."""
    ours, theirs = result.to(_wide(result)), against.to(_wide(against))
    error = (ours - theirs).abs() / (1 + theirs.abs())
    equal = (ours == theirs) | (ours.isnan() & theirs.isnan())
    return torch.where(equal, 0.0, error.nan_to_num(math.inf, posinf=math.inf))


def _wide(tensor: torch.Tensor) -> torch.dtype:
    return torch.complex128 if tensor.is_complex() else torch.float64


def _pieces(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    dense = tensor.detach().cpu()
    dense = dense if dense.layout == torch.strided else dense.to_dense()
    return torch.split(dense.reshape(-1), CHUNK)


def shapes(result: Result) -> dict[str, Any]:
    """What must be equal for two results to be compared element by element."""
    flats = {f"{name}/{path}": leaf for name, flat in result.groups.items() for path, leaf in flat.items()}
    return {path: tuple(leaf.shape) if isinstance(leaf, torch.Tensor) else None for path, leaf in flats.items()}


def on_cpu(workload: Workload) -> Workload:
    """An untouched copy of the workload on the CPU, optimizer and loss included."""
    model, optimizer, loss = copy.deepcopy((workload.model, workload.optimizer, workload.loss))
    for part in (model, loss):
        if isinstance(part, torch.nn.Module):
            part.to("cpu")
    if optimizer is not None:
        _optimizer_to_cpu(optimizer)
    args, kwargs, loss = map_tensors(_to_cpu, (workload.args, workload.kwargs, loss))
    return replace(workload, model=model, optimizer=optimizer, loss=loss, args=args, kwargs=kwargs, device="cpu")


def in_fp64(workload: Workload) -> Workload:
    """An untouched copy of the workload in float64."""
    return reference.widened(workload, torch.float64)


def _to_cpu(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone().cpu().requires_grad_(tensor.requires_grad)


def _optimizer_to_cpu(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        group.update({"capturable": False} if "capturable" in group else {})  # refused on a CPU
    for state in optimizer.state.values():
        state.update({key: value.cpu() for key, value in state.items() if isinstance(value, torch.Tensor)})
