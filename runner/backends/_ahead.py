"""Programs that are made ahead of their first run, from the whole model: exporting, freezing of dropout, and timing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from runner.errors import Unsupported
from runner.workload import Mode, Workload, children_of

if TYPE_CHECKING:
    import torch

Program = Callable[..., Any]


class AheadOfTime:
    """A model whose program `build(args, kwargs)` is made by the first call.

    Only then grad mode, autocast and inputs are those of a step, all of which a program holds for good. It holds
    dropout rates too: where they are others, which is how a check turns dropout off, another program is made.
    """

    def __init__(self, workload: Workload, build: Callable[[tuple[Any, ...], dict[str, Any]], Program]) -> None:
        from runner.state import dropouts

        self._build = build
        self._rates = [(vars(found.module), found.attribute) for found in dropouts(workload.model)]
        self._programs: dict[tuple[float, ...], Program] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        rates = tuple([place[name] for place, name in self._rates])
        program = self._programs.get(rates)
        if program is None:
            program = self._programs[rates] = self._build(args, kwargs)
        return program(*args, **kwargs)


@contextmanager
def part(name: str) -> Iterator[None]:
    """Time a part of compiling: a phase beside dynamo's own, hence a row of compile_metrics.csv."""
    from torch._dynamo.utils import compilation_time_metrics

    started = time.perf_counter()
    yield
    compilation_time_metrics.setdefault(name, []).append(time.perf_counter() - started)


def inference_only(workload: Workload, backend: str) -> None:
    """Raise Unsupported for a workload that needs gradients."""
    if workload.mode is Mode.training:
        raise Unsupported(f"backend {backend} makes programs without a backward pass: use mode=inference")
    if workload.grad:
        raise Unsupported(f"{workload.name} takes gradients in its forward pass: backend {backend} can't")


def exported(
    workload: Workload, args: tuple[Any, ...], kwargs: dict[str, Any], shapes: Any, *, strict: bool
) -> torch.export.ExportedProgram:
    """The model as torch.export captures it; `shapes` is runner.dynamic.export_shapes(workload).

    Dataclasses in the output are made known to torch's pytree where export finds that they aren't.
    """
    import torch

    def export() -> torch.export.ExportedProgram:
        model = as_module(workload.model)
        return torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=strict)

    with part("export"):
        try:
            return export()
        except Exception:  # torch raises RuntimeError, AssertionError or its own for an unknown class
            if not register_dataclasses(workload.model(*args, **kwargs)):
                raise
            return export()


def register_dataclasses(output: Any) -> bool:
    """Make the dataclasses in `output` known to torch's pytree; whether there were new ones."""
    import dataclasses

    import torch
    from torch.utils import _pytree

    kind = type(output)
    new = dataclasses.is_dataclass(kind) and kind not in _pytree.SUPPORTED_NODES
    if new:
        name = f"{kind.__module__}.{kind.__qualname__}"  # a package has to say which class it means
        torch.export.register_dataclass(kind, serialized_type_name=name)
    return any([new, *(register_dataclasses(child) for _, child in children_of(output))])


def as_module(model: Callable[..., Any]) -> torch.nn.Module:
    """The model, or a plain function as a module: exporters take nothing else."""
    import torch

    if isinstance(model, torch.nn.Module):
        return model

    class Function(torch.nn.Module):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return model(*args, **kwargs)

    return Function()
