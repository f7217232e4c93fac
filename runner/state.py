"""Taking a workload back to where it was: parameters, buffers, optimizer state, module attributes, RNG and inputs.

Everything is restored in place, so that addresses, strides and guards of compiled code stay valid.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch

from runner.workload import Workload, map_tensors, named_tensors

_PLAIN = (torch.Tensor, int, float, bool, str, type(None))


class State:
    """Parameters, buffers, plain attributes and optimizer state as they were when this object was made.

    Costs one copy of all of them. A tensor that can't be written element by element (expanded) is not restored.
    """

    def __init__(self, workload: Workload) -> None:
        self._modules = list(_modules(workload.model))
        self._optimizer = workload.optimizer
        self._places: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._saved: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        for module in self._modules:
            for place in (module._parameters, module._buffers):
                self._places.append((place, dict(place)))
        self._attributes = [(module, _attributes(module)) for module in self._modules]
        holders = [kept for _, kept in (*self._places, *self._attributes)]
        for tensor in (v for kept in holders for v in kept.values() if isinstance(v, torch.Tensor)):
            self._saved.setdefault(id(tensor), (tensor, tensor.detach().clone()))
        self._optimizer_state = _optimizer_state(workload.optimizer)

    def restore(self) -> None:
        """Put everything back, and drop the gradients of parameters."""
        for place, kept in self._places:
            place.clear()
            place.update(kept)
        for module, kept in self._attributes:
            for name, value in kept.items():
                if getattr(module, name, None) is not value:
                    setattr(module, name, value)
        for live, saved in self._saved.values():
            write(live, saved)
            live.grad = None if live.is_leaf else live.grad
        _restore_optimizer(self._optimizer, *self._optimizer_state)

    def saved(self, tensor: torch.Tensor) -> torch.Tensor:
        """The saved copy of a parameter or buffer."""
        return self._saved[id(tensor)][1]


def local(tensor: torch.Tensor) -> torch.Tensor:
    """The part of `tensor` that this process holds: its shard, where it is a DTensor."""
    shard = getattr(tensor, "to_local", None)  # DTensor's; to import it takes longer than to ask
    return shard() if shard else tensor


def write(live: torch.Tensor, saved: torch.Tensor) -> None:
    """Copy `saved` into `live` unless several elements of it share one address."""
    if overlaps(live):
        return
    with torch.no_grad():
        live.copy_(saved)


def overlaps(tensor: torch.Tensor) -> bool:
    """Whether elements share memory, as in an expanded tensor: torch refuses to write to such a one."""
    if tensor.layout != torch.strided:
        return False
    return any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))


def _modules(model: Any) -> Iterator[torch.nn.Module]:
    return model.modules() if isinstance(model, torch.nn.Module) else iter(())


def _attributes(module: torch.nn.Module) -> dict[str, Any]:
    """Tensors and plain values that a module keeps outside its parameters and buffers."""
    return {k: v for k, v in vars(module).items() if not k.startswith("_") and isinstance(v, _PLAIN)}


def _optimizer_state(optimizer: torch.optim.Optimizer | None) -> tuple[dict[Any, Any], list[dict[str, Any]]]:
    if optimizer is None:
        return {}, []
    state = {parameter: _cloned(values) for parameter, values in optimizer.state.items()}
    groups = [_cloned({k: v for k, v in group.items() if k != "params"}) for group in optimizer.param_groups]
    return state, groups


def _cloned(values: Mapping[str, Any]) -> dict[str, Any]:
    return map_tensors(lambda t: t.detach().clone(), dict(values))  # type: ignore[no-any-return]


def _restore_optimizer(
    optimizer: torch.optim.Optimizer | None, state: dict[Any, Any], groups: list[dict[str, Any]]
) -> None:
    if optimizer is None:
        return
    for parameter in [p for p in optimizer.state if p not in state]:
        del optimizer.state[parameter]
    for parameter, saved in state.items():
        _restore_values(optimizer.state[parameter], saved)
    for group, saved in zip(optimizer.param_groups, groups, strict=True):
        _restore_values(group, saved)


def _restore_values(live: dict[str, Any], saved: dict[str, Any]) -> None:
    for key in [k for k in live if k not in saved and k != "params"]:
        del live[key]
    for key, value in saved.items():
        if isinstance(value, torch.Tensor) and isinstance(live.get(key), torch.Tensor):
            write(live[key], value)
        else:
            live[key] = map_tensors(torch.clone, value)


def nudge(tensors: Iterable[torch.Tensor], seed: int, ulps: int = 4) -> None:
    """Move every element of the floating tensors by some units in its last place, up or down at random."""
    for i, tensor in enumerate(map(local, tensors)):
        if tensor.is_floating_point() and tensor.layout == torch.strided and not overlaps(tensor):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + i)
            signs = torch.randint(0, 2, tensor.shape, generator=generator).mul_(2).sub_(1).to(tensor)
            with torch.no_grad():
                tensor.mul_(1 + ulps * torch.finfo(tensor.dtype).eps * signs)


class Inputs:
    """The pristine inputs of a workload, and the workload's own tensors to load them into."""

    def __init__(self, workload: Workload) -> None:
        live = dict(named_tensors(workload.args))
        live |= {f".{key}{path}": t for key, value in workload.kwargs.items() for path, t in named_tensors(value)}
        self.live: dict[str, torch.Tensor] = live
        self._pristine = {name: tensor.detach().clone() for name, tensor in live.items()}
        self._loaded = 0

    def load(self, variant: int = 0) -> None:
        """Write the inputs: the pristine ones for 0, else with samples rolled by `variant` along the first dimension.

        Rolled inputs have the same values in other places, so that a stale output doesn't pass for a new one. Only
        tensors of two or more dimensions, and floating ones, are rolled: indices and lengths may have to be sorted.
        """
        self._loaded = variant
        for name, tensor in self.live.items():
            write(tensor, self._expected(name))
            tensor.grad = None if tensor.is_leaf else tensor.grad

    def changed(self) -> dict[str, torch.Tensor]:
        """Copies of the inputs that no longer are what was loaded."""
        return {
            name: tensor.detach().clone()
            for name, tensor in self.live.items()
            if not overlaps(tensor) and not identical(tensor, self._expected(name))
        }

    def undo(self) -> Callable[[], None] | None:
        """`load`, called once, if the workload's inputs have been changed; None if steps leave them alone."""
        if not self.changed():
            return None
        self.load()
        return self.load

    def _expected(self, name: str) -> torch.Tensor:
        return rolled(self._pristine[name], self._loaded)


def rolled(tensor: torch.Tensor, shift: int) -> torch.Tensor:
    """`tensor` rolled along its first dimension longer than one, if it may be."""
    may = tensor.layout == torch.strided and (tensor.ndim > 1 or tensor.is_floating_point() or tensor.is_complex())
    dim = next((i for i, size in enumerate(tensor.shape) if size > 1), None)
    return tensor if not shift or not may or dim is None else tensor.roll(shift, dim)


def identical(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors hold the same values, NaN being equal to NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.layout != torch.strided:
        one, other = one.to_dense(), other.to_dense()
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def with_own_containers(workload: Workload) -> Workload:
    """The workload with fresh lists and dicts around the same input tensors, so that a model may change them."""
    args, kwargs = map_tensors(lambda t: t, (workload.args, workload.kwargs))
    return replace(workload, args=args, kwargs=kwargs)


def seed_all(seed: int) -> None:
    """Seed torch on every device, numpy and random."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the generator that models draw from
    random.seed(seed)


def rng_state(device: str) -> tuple[Any, ...]:
    """State of all generators that a model on `device` can draw from; states of equal generators are equal."""
    name, keys, *rest = cast("tuple[Any, ...]", np.random.get_state())  # noqa: NPY002 - models draw from it
    states = [torch.get_rng_state()]
    if torch.device(device).type != "cpu":
        states.append(torch.get_device_module(torch.device(device).type).get_rng_state(device))
    numbers = (name, keys.tobytes(), *rest)
    return (*(s.cpu().numpy().tobytes() for s in states), numbers, random.getstate())


def set_rng_state(device: str, state: tuple[Any, ...]) -> None:
    """Put back what `rng_state` gave."""
    *torch_states, numbers, python = state
    tensors = [torch.frombuffer(bytearray(s), dtype=torch.uint8) for s in torch_states]
    torch.set_rng_state(tensors[0])
    for tensor in tensors[1:]:
        torch.get_device_module(torch.device(device).type).set_rng_state(tensor, device)
    name, keys, *rest = numbers
    np.random.set_state((name, np.frombuffer(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    random.setstate(python)


@dataclass(frozen=True)
class Dropout:
    """One active rate: the module that has it, as which attribute, and its value."""

    name: str
    module: torch.nn.Module
    attribute: str
    rate: float


def active_dropouts(model: Any) -> list[Dropout]:
    """Every rate above 0 of a dropout that is in training mode."""
    return [dropout for dropout in dropouts(model) if dropout.rate > 0]


def dropouts(model: Any) -> list[Dropout]:
    """Every rate of a dropout that is in training mode, whether it's turned off or not."""
    return [
        Dropout(f"{name}.{attribute}".lstrip("."), module, attribute, value)
        for name, module in (model.named_modules() if isinstance(model, torch.nn.Module) else ())
        for attribute, value in vars(module).items()
        if module.training and isinstance(value, float) and _is_rate(module, attribute)
    ]


@contextmanager
def dropout_off(model: Any) -> Iterator[list[str]]:
    """Set the rate of every dropout of `model` that is active to 0; yields their names, empty in eval mode.

    A compiled model guards on the rates: code compiled outside is compiled again inside, and is valid again after.
    To spare that, compile inside. A dropout whose rate is written in the model's code isn't reached: there the caller
    has to make both sides draw alike (inductor: `fallback_random`).
    """
    found = active_dropouts(model)
    with _rates(found, on=False):
        yield [dropout.name for dropout in found]


@contextmanager
def dropout_on(dropouts: list[Dropout]) -> Iterator[None]:
    """Inside `dropout_off`: these have their rates again."""
    with _rates(dropouts, on=True):
        yield


@contextmanager
def _rates(dropouts: list[Dropout], *, on: bool) -> Iterator[None]:
    try:
        for d in dropouts:
            setattr(d.module, d.attribute, d.rate if on else 0.0)
        yield
    finally:
        for d in dropouts:
            setattr(d.module, d.attribute, 0.0 if on else d.rate)


def _is_rate(module: torch.nn.Module, attribute: str) -> bool:
    kind = type(module).__name__
    return "drop" in attribute or (attribute == "p" and ("Drop" in kind or "StochasticDepth" in kind))


def inputs_to_reset(workload: Workload) -> Callable[[], None] | None:
    """What puts the inputs back before a call, if the model changes them in place; None if it leaves them alone."""
    inputs = Inputs(workload)
    workload.step(workload.model)
    return inputs.undo()
