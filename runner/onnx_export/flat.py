"""A model whose inputs and outputs are flat sequences of tensors, as those of an ONNX graph are.

What is around them (tuples, dicts, dataclasses, objects; numbers, None) is taken from one call, and put back later.
"""

from __future__ import annotations

import copy
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from runner.trees import flatten
from runner.workload import Workload, children_of, map_tensors, named_tensors

#: Makes an output of the next tensors of an iterator.
Builder = Callable[[Iterator[torch.Tensor]], Any]


class FlatModel(torch.nn.Module):
    """The workload's model as a function of its input tensors to a tuple of its output tensors.

    Making it runs the model once: `output` is a value that has the form of what the model returns.
    """

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.model = workload.model
        self.training = getattr(workload.model, "training", False)
        self._form = (workload.args, workload.kwargs)
        with torch.set_grad_enabled(workload.grad):
            args, kwargs = map_tensors(torch.clone, self._form)  # a model may change its inputs
            self.output = workload.model(*args, **kwargs)

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The output tensors for these input tensors."""
        replacements = iter(tensors)
        args, kwargs = map_tensors(lambda _: next(replacements), self._form)
        return tuple(tensors_in(self.model(*args, **kwargs)))


def input_names(workload: Workload) -> list[str]:
    """A name for each tensor of the inputs, in the order of `runner.workload.tensors_of`: `x0`, `mask`, `pair_1`."""
    args = [path for path, _ in named_tensors(workload.args)]
    kwargs = [path for path, _ in named_tensors(workload.kwargs)]
    names: list[str] = []
    for path in [*(f"x{path}" for path in args), *kwargs]:
        name = re.sub(r"\W+", "_", path).strip("_")
        names.append(name if name not in names else f"{name}_{len(names)}")
    return names


def tensors_in(value: Any) -> list[torch.Tensor]:
    """All tensors of an output, also those in attributes of objects, in the order of `runner.trees.flatten`."""
    return [leaf for leaf in flatten(value).values() if isinstance(leaf, torch.Tensor)]


def builder(value: Any) -> Builder:
    """What makes a value like `value` of the tensors that `tensors_in` would find in it."""
    if isinstance(value, torch.Tensor):
        return next
    if not tensors_in(value):
        return lambda _: value
    if isinstance(value, Mapping):
        return _of_mapping(value)
    if isinstance(value, (list, tuple, deque)):
        return _of_sequence(value)
    return _of_object(value)


def _of_mapping(value: Mapping[Any, Any]) -> Builder:
    parts = {key: builder(child) for key, child in value.items()}
    make = dict if type(value) is dict else type(value)

    def build(tensors: Iterator[torch.Tensor]) -> Any:
        return make({key: part(tensors) for key, part in parts.items()})  # type: ignore[call-arg]

    return build


def _of_sequence(value: Any) -> Builder:
    parts = [builder(child) for child in value]
    named, make = hasattr(value, "_fields"), type(value)

    def build(tensors: Iterator[torch.Tensor]) -> Any:
        children = [part(tensors) for part in parts]
        return make(*children) if named else make(children)

    return build


def _of_object(value: Any) -> Builder:
    found = children_of(value) or [(f".{key}", child) for key, child in vars(value).items()]
    parts = {key.removeprefix("."): builder(child) for key, child in found}

    def build(tensors: Iterator[torch.Tensor]) -> Any:
        other = copy.copy(value)
        for name, part in parts.items():
            object.__setattr__(other, name, part(tensors))  # a dataclass may be frozen
        return other

    return build
