"""The two sides of a sample: an operator as a function of its tensors, called by eager and by what a backend made."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import torch
from torch import fx

from runner.errors import Unsupported
from runner.operators.inputs import Call
from runner.workload import map_tensors, tensors_of

Function = Callable[..., Any]
#: Results that are memory as it was found.
_UNINITIALISED = frozenset({"empty", "empty_like", "new_empty", "new_empty_strided", "empty_strided", "resize_"})


class Direction(str, Enum):
    """What of an operator is run."""

    forward = "forward"
    backward = "backward"


@dataclass(frozen=True)
class Program:
    """An operator as `function(*tensors)`, everything else in its arguments being constant.

    The module is what a backend compiles: code of its own for each input set, so that dynamo keeps them apart.
    """

    call: Call
    module: fx.GraphModule

    @classmethod
    def of(cls, call: Call) -> Program:
        """The one-node graph of a call."""
        graph = fx.Graph()
        places = {id(t): graph.placeholder(f"t{i}") for i, t in enumerate(call.tensors)}
        args, kwargs = map_tensors(lambda t: places[id(t)], (call.args, call.kwargs))
        graph.output(graph.call_function(call.operator, args, kwargs))
        return cls(call, fx.GraphModule({}, graph))

    @property
    def function(self) -> Function:
        """The eager side."""
        return self.module.forward

    @property
    def form(self) -> tuple[Any, ...]:
        """Equal for programs that a compiler can't tell apart: the code, and the tensors that go in."""
        tensors = [(t.shape, t.stride(), t.dtype) for t in self.call.tensors]
        return (self.module.code, tuple(tensors), self.call.grads)

    @property
    def mutates(self) -> bool:
        """Whether the operator writes to its inputs."""
        return bool(self.call.operator._schema.is_mutable)

    @property
    def random(self) -> bool:
        """Whether two calls give different values."""
        name = self.call.operator._schema.name.partition("::")[2]
        return torch.Tag.nondeterministic_seeded in self.call.operator.tags or name in _UNINITIALISED

    def precise(self) -> Program:
        """The same in fp64: tensors, and dtypes that are arguments."""
        wide = [t.double() if t.is_floating_point() else t for t in self.call.tensors]
        by_id = {id(old): new for old, new in zip(self.call.tensors, wide, strict=True)}
        args, kwargs = _map_dtypes(map_tensors(lambda t: by_id[id(t)], (self.call.args, self.call.kwargs)))
        return Program.of(replace(self.call, args=args, kwargs=kwargs, tensors=tuple(wide)))


def copies(tensors: Sequence[torch.Tensor], grads: Sequence[int] = ()) -> list[torch.Tensor]:
    """Tensors of the same form and values that nobody else holds; those at `grads` are leaves that get a gradient."""
    found = [t.detach().clone(memory_format=torch.preserve_format) for t in tensors]
    found = [c if c.stride() == t.stride() else _same_strides(t) for c, t in zip(found, tensors, strict=True)]
    return [t.requires_grad_() if i in grads else t for i, t in enumerate(found)]


def forward(function: Function, tensors: Sequence[torch.Tensor]) -> Any:
    """What the function gives, without a gradient."""
    with torch.no_grad():
        return function(*tensors)


def backward_of(function: Function, tensors: Sequence[torch.Tensor], grads: Sequence[int]) -> Callable[[], Any]:
    """Run the forward; the result runs the backward alone, as often as it is called.

    Raises Unsupported where no output depends on an input that gets a gradient.
    """
    outputs = _differentiable(function, tensors)
    if not outputs:
        raise Unsupported("the operator has no backward")
    generator = torch.Generator(outputs[0].device).manual_seed(1)
    vectors = [_random_like(t, generator) for t in outputs]
    inputs = [tensors[i] for i in grads]

    def run() -> Any:
        return torch.autograd.grad(outputs, inputs, vectors, retain_graph=True, allow_unused=True)

    return run


def backward_reads(function: Function, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """What a backward has to read: what eager's forward keeps for it, and a gradient of the form of each output."""
    kept: dict[tuple[Any, ...], torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr(), tensor.shape, tensor.stride()] = tensor.detach()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = _differentiable(function, tensors)
    return [*kept.values(), *outputs]


def _differentiable(function: Function, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    with torch.enable_grad():
        return [t for t in tensors_of(function(*tensors)) if t.requires_grad and t.grad_fn is not None]


def without_guards(function: Function, program: Program) -> Function:
    """What dynamo compiled for the program, called past dynamo; `function` itself where that isn't to be had.

    What remains is what upstream times: the code that a compiler made, and not the look-up in dynamo's cache, which
    takes longer than most small operators and which a whole model pays once.
    """
    method = getattr(program.module.forward, "__func__")  # noqa: B009 - fx says no more than that it can be called
    entries = torch._dynamo.eval_frame._debug_get_cache_entry_list(method.__code__)
    if len(entries) != 1 or entries[0].code.co_freevars:
        return function
    plain = types.FunctionType(entries[0].code, method.__globals__)
    return types.MethodType(plain, program.module)


def _same_strides(tensor: torch.Tensor) -> torch.Tensor:
    """A copy with overlapping elements, as in an expanded tensor."""
    size = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True)) if tensor.numel() else 0
    flat = tensor.detach().as_strided((size,), (1,)).clone()
    return flat.as_strided(tensor.shape, tensor.stride())


def _random_like(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    values = torch.randn(tensor.shape, generator=generator, device=tensor.device)
    return values.to(tensor.dtype)


def _map_dtypes(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return torch.float64 if value.is_floating_point else value
    if isinstance(value, (list, tuple)):
        return type(value)(map(_map_dtypes, value))
    return {key: _map_dtypes(child) for key, child in value.items()} if isinstance(value, dict) else value
