"""TorchScript: the model traced with its inputs, or its source code compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from runner.backends._ahead import AheadOfTime, Program, part
from runner.workload import map_tensors, tensors_of

if TYPE_CHECKING:
    from runner.workload import Workload


class Method(str, Enum):
    """How TorchScript comes to its graph."""

    trace = "trace"
    script = "script"


@dataclass
class Torchscript:
    """The graph executor specialises itself in the first calls, before anything is timed."""

    method: Method = Method.trace

    @property
    def label(self) -> str:
        """What the column `backend` says."""
        return f"torchscript_{self.method.value}"

    def prepare(self, workload: Workload) -> Callable[..., Any]:
        """The script module, which shares parameters and buffers with the model: it can train."""
        import torch

        model = workload.model

        def build(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
            with part(self.method.value):
                return _traced(model, args, kwargs) if self.method is Method.trace else torch.jit.script(model)

        return AheadOfTime(workload, build)


def _traced(model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
    """A trace has tensors going in and out; arguments and output of any other structure are taken apart around it."""
    import torch

    output, nothing = None, torch.empty(0)

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: torch.Tensor) -> Any:
            nonlocal output
            own_args, own_kwargs = _filled((args, kwargs), tensors)
            given = model(*own_args, **own_kwargs)
            output = map_tensors(lambda _: nothing, given)  # its structure, and no memory
            return given if isinstance(given, torch.Tensor) else tuple(tensors_of(given))

    # Whether the trace is right is the check's business.
    inputs = tuple(tensors_of((args, kwargs)))
    traced: Program = torch.jit.trace(Flat(), inputs, check_trace=False)  # type: ignore[no-untyped-call]
    plain = not kwargs and all(isinstance(arg, torch.Tensor) for arg in args)
    if plain and isinstance(output, torch.Tensor):
        return traced

    def call(*args: Any, **kwargs: Any) -> Any:
        given = traced(*tensors_of((args, kwargs)))
        return given if isinstance(given, torch.Tensor) else _filled(output, given)

    return call


def _filled(structure: Any, tensors: tuple[Any, ...]) -> Any:
    """`structure` with its tensors replaced by `tensors`, in order."""
    following = iter(tensors)
    return map_tensors(lambda _: next(following), structure)
