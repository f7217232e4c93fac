"""Inputs whose sizes vary: which dimensions a compiler is told about, and the batch sizes that a run goes through."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from runner.errors import Unsupported
from runner.workload import Dynamic, Workload, tensors_of

if TYPE_CHECKING:
    import torch

#: What all batch dimensions have in common under `dynamic=unbacked`.
_SHAPE_ID = "batch"


def batch_sizes(batch_size: int) -> tuple[int, ...]:
    """Batch sizes to go through: the given one first, then smaller ones, so that no more memory is needed.

    Compilers treat 0 and 1 specially, so neither is among them; a batch of 2 or 3 gets one more as its other size.
    """
    parts = [batch_size, batch_size - batch_size // 4, batch_size // 2, batch_size // 4]
    sizes = list(dict.fromkeys(size for size in parts if size > 1))
    return tuple(sizes) if len(sizes) > 1 else (batch_size, batch_size + 1)


def sequence(workload: Workload, sizes: Sequence[int] | None) -> list[Workload]:
    """The workload at each of `sizes`; None: at those of `batch_sizes`, or as it is where its inputs are static."""
    if sizes is None and workload.dynamic is Dynamic.static:
        return [workload]
    if sizes is None:
        sizes = batch_sizes(workload.batch_size or 1)
    return [workload if size == workload.batch_size else workload.resized(size) for size in sizes]


def mark(workload: Workload) -> None:
    """Tell dynamo which dimensions of the workload's inputs vary; nothing where they are static.

    The marks stay on the workload's tensors; copies of them lose them, which a compiled program does not mind.
    """
    for tensor, dims in dynamic_dims(workload):
        for dim in dims:
            _mark(tensor, dim, workload.dynamic)


def _mark(tensor: torch.Tensor, dim: int, dynamic: Dynamic) -> None:
    import torch
    from torch._dynamo.decorators import mark_unbacked

    if dynamic is not Dynamic.unbacked:
        torch._dynamo.maybe_mark_dynamic(tensor, dim)
        return
    wanted = {"hint_override": tensor.shape[dim], "shape_id": _SHAPE_ID, "min": 1}
    known = inspect.signature(mark_unbacked).parameters  # torch learnt shape_id and min after hint_override
    mark_unbacked(tensor, dim, **{key: value for key, value in wanted.items() if key in known})


def export_shapes(workload: Workload) -> Any:
    """`dynamic_shapes` for torch.export.export and torch.onnx.export; None where the inputs are static.

    Raises `Unsupported` for unbacked sizes, which export takes from data only.
    """
    if workload.dynamic is Dynamic.static:
        return None
    if workload.dynamic is Dynamic.unbacked:
        raise Unsupported("torch.export has no unbacked sizes of inputs: use dynamic=batch")
    from torch.export import Dim, ShapesCollection

    shapes = ShapesCollection()  # type: ignore[no-untyped-call]
    for tensor, dims in dynamic_dims(workload):
        shapes[tensor] = dict.fromkeys(dims, Dim.AUTO)
    return shapes.dynamic_shapes(workload.model, workload.args, workload.kwargs)  # type: ignore[no-untyped-call]


def dynamic_dims(workload: Workload) -> Iterator[tuple[torch.Tensor, tuple[int, ...]]]:
    """Each input tensor that has dimensions that vary, with them.

    Those of the batch are found by loading the model at another batch size; of `all`, each that is longer than 1.
    """
    tensors = list(tensors_of((workload.args, workload.kwargs)))
    if workload.dynamic is Dynamic.all:
        found = [tuple(d for d, size in enumerate(t.shape) if size > 1) for t in tensors]
    elif workload.dynamic is Dynamic.static:
        found = [()] * len(tensors)
    else:
        found = _batch_dims(workload, tensors)
    yield from ((t, dims) for t, dims in zip(tensors, found, strict=True) if dims)


def _batch_dims(workload: Workload, tensors: list[torch.Tensor]) -> list[tuple[int, ...]]:
    size = workload.batch_size or 1
    if size < 2:
        raise Unsupported(
            f"{workload.name} has a batch of {size}, which compilers treat specially: give batch_size=2 or more"
        )
    other = workload.resized(batch_sizes(size)[-1])
    others = [t.shape for t in tensors_of((other.args, other.kwargs))]
    shapes = [t.shape for t in tensors]
    if [len(shape) for shape in shapes] != [len(shape) for shape in others]:
        raise Unsupported(f"the inputs of {workload.name} have other dimensions at another batch size: use dynamic=all")
    found = [
        tuple(d for d, (one, two) in enumerate(zip(shape, its, strict=True)) if one != two)
        for shape, its in zip(shapes, others, strict=True)
    ]
    if not any(found):
        raise Unsupported(f"no input of {workload.name} depends on the batch size: use dynamic=static")
    return found
