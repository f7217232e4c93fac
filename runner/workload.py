"""The workload: a model with inputs and a way to do one step, and nothing about how it will be measured.

This module imports no torch at import time, so that experiments can name its types in the parent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Mode(str, Enum):
    """What one step is."""

    inference = "inference"
    training = "training"


class Dynamic(str, Enum):
    """Which sizes of the inputs a compiler is told to expect to vary; the group `dynamic`."""

    static = "static"  # none
    batch = "batch"  # those that follow the batch size
    all = "all"  # all that are longer than 1
    unbacked = "unbacked"  # the batch's, about which the compiler may not ask


@dataclass  # not frozen: OmegaConf would make the node read-only before the group's file fills it in
class Precision:
    """Number format of a cell; the group `precision`.

    `dtype` names the torch dtype that floating parameters and inputs are cast to, or under which autocast runs.
    """

    name: str = "fp32"
    dtype: str = "float32"
    autocast: bool = False


@dataclass(frozen=True)
class Policy:
    """What is particular about one model, from `conf/models/<suite>.yaml`, overridden by `policy.*`; None = nothing.

    An entry of such a file may also say `where`, see `runner.policies`.
    """

    skip: str | None = None  # reason why the model is not run; select.no_skip=true runs it
    slow: bool | None = None  # select.fast=true leaves it out, whatever was recorded
    batch_size_inference: int | None = None
    batch_size_training: int | None = None
    batch_divisor: int | None = None  # the suite's own batch size is divided by it
    fixed_batch_size: bool | None = None  # the model can't be given another batch size than its own
    precision: str | None = None  # is run in this one instead of the one asked for
    optimizer: str | None = None  # is trained by this one instead of the one asked for
    backend: dict[str, Any] = field(default_factory=dict)  # settings of the backend where the command leaves them open
    channels_last: bool | None = None  # 4-D tensors in channels_last memory format
    activation_checkpointing: bool | None = None  # training computes activations twice instead of keeping them
    cast_inputs: bool | None = None  # false: parameters are cast to the precision, inputs stay as they are
    loss_divisor: float | None = None  # the loss is divided by it
    tolerance: float | None = None  # absolute and relative tolerance of the output comparison
    cosine: bool | None = None  # compare by cosine similarity
    iou: float | None = None  # compare boolean outputs by intersection over union of at least this
    small_tensors: bool | None = None  # allow tensors of up to 500 elements a larger error
    reference: bool | None = None  # false: no fp64 run to compare with
    eval_mode: bool | None = None  # whether checks run the model in eval mode, in training too
    check_runs: int | None = None  # runs of experiment=accuracy, of which the majority counts
    nondeterministic: bool | None = None  # eager differs from itself: checks learn its noise from more runs
    deterministic_algorithms: bool | None = None  # false: checks don't ask torch for deterministic algorithms

    def __post_init__(self) -> None:
        """Raise ValueError with field, value and bound."""
        for name, text, holds in _BOUNDS:
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise ValueError(f"policy.{name} is {value}: it must be {text}")


_BOUNDS: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("batch_size_inference", "at least 1", lambda v: v >= 1),
    ("batch_size_training", "at least 1", lambda v: v >= 1),
    ("batch_divisor", "at least 1", lambda v: v >= 1),
    ("loss_divisor", "above 0", lambda v: v > 0),
    ("tolerance", "at least 0", lambda v: v >= 0),
    ("iou", "above 0 and at most 1", lambda v: 0 < v <= 1),
    ("check_runs", "at least 1", lambda v: v >= 1),
)


@dataclass(frozen=True)
class LoadRequest:
    """What a loader is asked for. `batch_size` None means the model's own default for this mode.

    A loader builds the model in float32 with weights from `seed`, and puts it and its inputs on `device`
    (a torch device string); the caller casts to the cell's precision afterwards.
    """

    mode: Mode = Mode.inference
    batch_size: int | None = None
    device: str = "cpu"
    seed: int = 0
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True)
class Family:
    """What ties a model to others of its suite, which do the same thing in other ways.

    Times are related to those of the model `reference`. `equal_to` is the model whose outputs and gradients this one
    has to reproduce, weights and inputs being equal; None where there is none to compare with.
    """

    name: str
    reference: str
    equal_to: str | None = None


def mean_loss(output: Any) -> torch.Tensor:
    """Mean over all floating elements of all tensors in `output`: a scalar loss for a model that declares none."""
    import torch

    wide = (torch.float32, torch.float64, torch.complex64, torch.complex128)
    found = [t for t in tensors_of(output) if t.is_floating_point() or t.is_complex()]
    tensors = [t if t.dtype in wide else t.float() for t in found]
    if not tensors:
        raise ValueError("the model's output holds no floating-point tensor to take a loss of")
    total = sum(t.numel() for t in tensors)
    return sum(t.sum() for t in tensors) / total  # type: ignore[return-value]


@dataclass
class Step:
    """What one step gave: the model's output and, in training, the scalar loss."""

    output: Any
    loss: torch.Tensor | None = None


@dataclass
class Workload:
    """Everything that a measurement needs to know about a model.

    `batch_size` is the effective one (None where the model has no such thing), `source` says where the model came
    from. `grad` is True for the few models whose inference needs autograd. `flags` are words that the loader has to
    say about it, for the row. `compiles` is True for a model whose first call compiles it: its time and failures are
    those of a compilation.
    """

    name: str
    model: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    mode: Mode = Mode.inference
    loss: Callable[[Any], torch.Tensor] = mean_loss
    source: str = "builtin"
    policy: Policy = field(default_factory=Policy)
    precision: Precision = field(default_factory=Precision)
    optimizer: torch.optim.Optimizer | None = None
    device: str = "cpu"
    grad: bool = False
    family: Family | None = None
    compiles: bool = False
    flags: tuple[str, ...] = ()
    tokens: int | None = None  # tokens that one step processes; None for a model that has none
    dynamic: Dynamic = Dynamic.static
    reload: Callable[[int], Workload] | None = None  # the same model and inputs once more, at another batch size

    def resized(self, batch_size: int) -> Workload:
        """The same model, parameters and optimizer with inputs and loss of another batch size.

        A model that keeps something for each sample is handed the one of that batch size: `take_batch_of(other)`.
        Raises `Unsupported` where the model's batch size can't be chosen.
        """
        from runner.errors import Unsupported

        other = self.reload(batch_size) if self.reload else self
        if other.batch_size != batch_size:
            raise Unsupported(f"{self.name} has a fixed batch size of {self.batch_size}")
        if other is not self and hasattr(self.model, "take_batch_of"):
            self.model.take_batch_of(other.model)
        own = replace(other, model=self.model, optimizer=self.optimizer)
        return replace(own, dynamic=self.dynamic, reload=self.reload)

    def step(self, f: Callable[..., Any]) -> Step:
        """Do one step with `f` in the model's place.

        Inference: `f(*args, **kwargs)` without grad. Training: gradients to None, forward, loss, backward, optimizer
        step. Autocast covers forward and loss only, as torch recommends.
        """
        import torch

        if self.mode is Mode.inference:
            with torch.set_grad_enabled(self.grad), self.autocast():
                return Step(f(*self.args, **self.kwargs))
        self.zero_grad()
        with getattr(f, "around_step", nullcontext)():  # a backend may have a part in the backward pass too
            with torch.enable_grad(), self.autocast():
                output = f(*self.args, **self.kwargs)
                loss = self.loss(output)
            loss.backward()  # type: ignore[no-untyped-call]
        if self.optimizer is not None:
            self.optimizer.step()
        return Step(output, loss)

    def autocast(self) -> AbstractContextManager[Any]:
        """The autocast context of the cell's precision, or one that does nothing."""
        if not self.precision.autocast:
            return nullcontext()
        import torch

        kind = self.device.split(":")[0]
        return torch.autocast(kind, dtype=getattr(torch, self.precision.dtype))

    def zero_grad(self) -> None:
        """Drop all gradients of parameters and of inputs."""
        for parameter in self.parameters().values():
            parameter.grad = None
        for tensor in tensors_of((self.args, self.kwargs)):
            if tensor.is_leaf and tensor.requires_grad:
                tensor.grad = None

    def parameters(self) -> Mapping[str, torch.Tensor]:
        """Named parameters of the model; empty for a plain function."""
        named = getattr(self.model, "named_parameters", None)
        return dict(named()) if named else {}

    def buffers(self) -> Mapping[str, torch.Tensor]:
        """Named buffers of the model; empty for a plain function."""
        named = getattr(self.model, "named_buffers", None)
        return dict(named()) if named else {}

    def cast(self, precision: Precision) -> Workload:
        """The same workload in `precision`: floating parameters, buffers and inputs cast in place, autocast noted."""
        import torch

        if not precision.autocast and precision.dtype != "float32":
            dtype = getattr(torch, precision.dtype)
            if isinstance(self.model, torch.nn.Module):
                self.model.to(dtype)
            if self.policy.cast_inputs is not False:
                self.args, self.kwargs = map_tensors(
                    lambda t: t.to(dtype) if t.is_floating_point() else t, (self.args, self.kwargs)
                )
        return replace(self, precision=precision)


def tensors_of(value: Any) -> Iterator[torch.Tensor]:
    """All tensors in nested tuples, lists, mappings and dataclasses, in order."""
    for _, tensor in named_tensors(value):
        yield tensor


def named_tensors(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors in `value` with the path that leads to each: `[0].logits`, `['x']`."""
    import torch

    if isinstance(value, torch.Tensor):
        yield name, value
        return
    for key, child in children_of(value):
        yield from named_tensors(child, name + key)


def children_of(value: Any) -> Iterable[tuple[str, Any]]:
    """Children of a container with their accessors; nothing for a leaf."""
    if isinstance(value, Mapping):  # some model outputs are mapping and dataclass in one, and leave absent fields out
        accessor = ".{}" if is_dataclass(value) else "[{!r}]"
        return [(accessor.format(key), child) for key, child in value.items()]
    if isinstance(value, (list, tuple)):
        return [(f"[{i}]", child) for i, child in enumerate(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return [(f".{f.name}", getattr(value, f.name)) for f in fields(value)]
    return ()


def map_tensors(function: Callable[[torch.Tensor], Any], value: Any) -> Any:
    """`value` with every tensor replaced by `function(tensor)`; containers are rebuilt, leaves kept."""
    import torch

    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, Mapping):
        items = {key: map_tensors(function, child) for key, child in value.items()}
        return items if type(value) is dict else type(value)(items)  # type: ignore[call-arg]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(function, child) for child in value))
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(function, child) for child in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: map_tensors(function, getattr(value, f.name)) for f in fields(value)})
    return value
