"""Ways in which a model's inputs vary from call to call, and their effect on a workload."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runner.errors import Unsupported
from runner.workload import Workload, map_tensors, tensors_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Variation:
    """`made(workload)` gives the varied workload inside its context; the model is as before afterwards.

    Raises `Unsupported` where the model has nothing of the kind.
    """

    kind: str
    value: str
    made: Callable[[Workload], AbstractContextManager[Workload]]


def batch_size(size: int) -> Variation:
    """Inputs of another batch size, from the loader."""

    @contextmanager
    def made(workload: Workload) -> Iterator[Workload]:
        yield workload.resized(size)

    return Variation("batch_size", str(size), made)


def sequence_length(length: int) -> Variation:
    """Inputs whose sequences are cut to `length`, or repeated up to it."""

    @contextmanager
    def made(workload: Workload) -> Iterator[Workload]:
        present = length_of(workload)
        if present is None:
            raise Unsupported(f"{workload.name} has no sequences: no input of token ids, nor a floating one [B, T, F]")
        args, kwargs = map_tensors(lambda t: _stretched(t, present, length), (workload.args, workload.kwargs))
        yield replace(workload, args=args, kwargs=kwargs)

    return Variation("sequence_length", str(length), made)


def length_of(workload: Workload) -> int | None:
    """Second dimension of the first input of token ids [B, T], else of the first floating one [B, T, F]."""
    inputs = list(tensors_of((workload.args, workload.kwargs)))
    ids = [t for t in inputs if t.ndim == 2 and not t.is_floating_point() and not t.is_complex()]
    features = [t for t in inputs if t.ndim == 3 and t.is_floating_point()]
    return int((ids or features)[0].shape[1]) if ids or features else None


def _stretched(tensor: torch.Tensor, present: int, length: int) -> torch.Tensor:
    """Every dimension after the first that is as long as the sequence becomes `length`."""
    import torch

    index = torch.arange(length, device=tensor.device) % present
    for dim in range(1, tensor.ndim):
        if tensor.shape[dim] == present:
            tensor = tensor.index_select(dim, index)
    return tensor


def dtype(name: str) -> Variation:
    """Floating parameters, buffers and inputs in another dtype."""

    @contextmanager
    def made(workload: Workload) -> Iterator[Workload]:
        import torch

        wanted, model = getattr(torch, name), workload.model
        before = {id(t): t.dtype for t in (*workload.parameters().values(), *workload.buffers().values())}
        args, kwargs = map_tensors(
            lambda t: t.to(wanted) if t.is_floating_point() else t, (workload.args, workload.kwargs)
        )
        if isinstance(model, torch.nn.Module):
            model.to(wanted)
        try:
            yield replace(workload, args=args, kwargs=kwargs)
        finally:
            if isinstance(model, torch.nn.Module):
                model._apply(lambda t: t.to(before.get(id(t), t.dtype)))  # type: ignore[no-untyped-call]

    return Variation("dtype", name, made)


def requires_grad() -> Variation:
    """Floating inputs require a gradient where they did not, and the other way round."""

    @contextmanager
    def made(workload: Workload) -> Iterator[Workload]:
        if not any(t.is_floating_point() for t in tensors_of((workload.args, workload.kwargs))):
            raise Unsupported(f"{workload.name} has no floating-point input")
        args, kwargs = map_tensors(_flipped, (workload.args, workload.kwargs))
        yield replace(workload, args=args, kwargs=kwargs)

    return Variation("requires_grad", "flipped", made)


def _flipped(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    return tensor.detach().clone().requires_grad_(not tensor.requires_grad)


def training_flag() -> Variation:
    """`model.train()` for a model in eval mode, `model.eval()` for one in training mode."""

    @contextmanager
    def made(workload: Workload) -> Iterator[Workload]:
        model: Any = workload.model
        if not hasattr(model, "modules"):
            raise Unsupported(f"{workload.name} is a function, which has no training flag")
        flags = [(module, module.training) for module in model.modules()]
        model.train(not model.training)
        try:
            yield workload
        finally:
            for module, flag in flags:
                module.training = flag

    return Variation("training_flag", "flipped", made)
