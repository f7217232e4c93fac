"""Derivatives of a workload's loss by its parameters: ten tasks, each by torch.autograd.functional and torch.func.

The tasks bear the names of PyTorch's functional_autograd_benchmark. This module is for the child.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import func
from torch.autograd import functional

from runner.errors import Unsupported
from runner.workload import Workload, map_tensors

Tensors = tuple[torch.Tensor, ...]
Loss = Callable[..., torch.Tensor]

#: Tasks that need a vector, and whether it is like the parameters or like the loss.
_VECTORS = {"vjp": "loss", "jvp": "parameters", "vhp": "parameters", "hvp": "parameters"}
#: Tasks that hold a square matrix over all parameters: a Hessian, or the basis that forward mode pushes through.
_SQUARE = ("hessian", "hessian_fwdrev", "hessian_revrev", "jacfwd")
#: What torch says of an operator that it can't differentiate so often or in this way.
_NO_DERIVATIVE = re.compile(
    r"derivative for aten::\S+ is not implemented|forward AD|forward-mode|double backward|"
    r"twice differentiable|batching rule|vmap|functorch|ZeroTensor|doesn't have storage|"
    r"does not require grad and does not have a grad_fn",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Problem:
    """The loss as a function of `parameters`, with the vector of a task (empty where it takes none).

    `inputs` are the model's own arguments, (args, kwargs). `loss(inputs)` gives the function of the parameters.
    """

    loss: Callable[[Any], Loss]
    parameters: Tensors
    vector: Tensors
    inputs: Any

    def numbers(self) -> int:
        """How many numbers the parameters hold."""
        return sum(parameter.numel() for parameter in self.parameters)

    def double(self) -> Problem:
        """The same with everything that floats in float64."""
        parameters, vector, inputs = map_tensors(_double, (self.parameters, self.vector, self.inputs))
        return Problem(self.loss, parameters, vector, inputs)


def problem(workload: Workload, task: str, seed: int) -> Problem:
    """The loss of `workload` by those of its parameters that are trained.

    The vector is drawn from `seed`, the model's name and the task alone, so that it is the same whatever ran before.
    Raises `Unsupported` for a model without such parameters.
    """
    trained = {name: p.detach() for name, p in workload.parameters().items() if p.requires_grad}
    if not trained:
        raise Unsupported(f"{workload.name} has no parameters to differentiate by")
    parameters = tuple(trained.values())
    kind = _VECTORS.get(task)
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{workload.name}/{task}".encode()))
    shapes = {"parameters": parameters, "loss": (parameters[0].new_empty(()),)}.get(kind or "", ())
    vector = tuple(torch.rand(t.shape, generator=generator).to(t) for t in shapes)
    return Problem(_loss_of(workload, tuple(trained)), parameters, vector, (workload.args, workload.kwargs))


def _loss_of(workload: Workload, names: Sequence[str]) -> Callable[[Any], Loss]:
    model, buffers = workload.model, dict(workload.buffers())

    def of_inputs(inputs: Any) -> Loss:
        args, kwargs = inputs

        def loss(*parameters: torch.Tensor) -> torch.Tensor:
            state = dict(zip(names, parameters, strict=True))
            if parameters[0].dtype is torch.float64:
                state |= {name: _double(buffer) for name, buffer in buffers.items()}
            return workload.loss(func.functional_call(model, state, args, kwargs))  # type: ignore[arg-type]

        return loss

    return of_inputs


def _double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


@dataclass(frozen=True)
class Derivative:
    """A task by one of the APIs: calling it with a problem computes it."""

    name: str  # of the function, for messages
    compute: Callable[[Loss, Tensors, Tensors], Any]
    grad: bool  # torch.func needs no grad mode of ours

    def __call__(self, parameters: Tensors, vector: Tensors, of_inputs: Callable[[Any], Loss], inputs: Any) -> Any:
        """The derivative, in the form in which torch.autograd.functional gives it."""
        with torch.set_grad_enabled(self.grad):
            return self.compute(of_inputs(inputs), parameters, vector)

    def of(self, problem: Problem) -> Any:
        """The derivative of `problem`."""
        return self(problem.parameters, problem.vector, problem.loss, problem.inputs)


def check_memory(task: str, numbers: int, itemsize: int, free_bytes: int | None) -> None:
    """Raise `Unsupported` for a task whose square matrix can't fit, before anything of it is allocated.

    `numbers` is that of the parameters. Fitting in here is necessary, not sufficient.
    """
    needed = numbers**2 * itemsize
    if task in _SQUARE and free_bytes is not None and needed > free_bytes:
        raise Unsupported(
            f"{task} by {numbers} parameters needs a matrix of {needed} bytes ({_rounded(needed)}), "
            f"and {free_bytes} ({_rounded(free_bytes)}) are free: choose vjp, jvp, vhp or hvp"
        )


def _rounded(count: float) -> str:
    units = ["bytes", "kB", "MB", "GB", "TB", "PB", "EB"]
    place = min((len(str(int(count))) - 1) // 3, len(units) - 1)
    return f"{count / 1000**place:.3g} {units[place]}"


def refused(error: BaseException, derivative: Derivative, model: str) -> Unsupported | None:
    """`error` as the statement that torch can't take this derivative of this model; None if it says something else."""
    text = " ".join(str(error).split())
    if not isinstance(error, RuntimeError) or not _NO_DERIVATIVE.search(text):
        return None
    sentence = re.split(r"\.(?=\s|$)", text)[0]
    return Unsupported(f"{derivative.name} can't differentiate {model}: {sentence}")


def _by_functional(task: str, **options: Any) -> Derivative:
    function = getattr(functional, task)
    takes_vector = task in _VECTORS

    # Not strict: a parameter on which the loss depends linearly has a second derivative of zero, and a right to it.
    def compute(loss: Loss, parameters: Tensors, vector: Tensors) -> Any:
        if not takes_vector:
            return function(loss, parameters, **options)
        return function(loss, parameters, vector[0] if task == "vjp" else vector, **options)

    return Derivative(f"torch.autograd.functional.{task}", compute, grad=True)


def _by_func(name: str, compute: Callable[[Loss, Tensors, Tensors], Any]) -> Derivative:
    return Derivative(f"torch.func.{name}", compute, grad=False)


def _every(parameters: Tensors) -> tuple[int, ...]:
    return tuple(range(len(parameters)))


def _gradient(loss: Loss, parameters: Tensors) -> Callable[..., Any]:
    return func.grad_and_value(loss, argnums=_every(parameters))


def _vjp(loss: Loss, parameters: Tensors, vector: Tensors) -> Any:
    value, pull, *_ = func.vjp(loss, *parameters)
    return value, pull(vector[0])


def _jvp(loss: Loss, parameters: Tensors, vector: Tensors) -> Any:
    return func.jvp(loss, parameters, vector)


def _vhp(loss: Loss, parameters: Tensors, vector: Tensors) -> Any:
    _, pull, value = cast("tuple[Any, Any, Any]", func.vjp(_gradient(loss, parameters), *parameters, has_aux=True))
    return value, pull(vector)


def _hvp(loss: Loss, parameters: Tensors, vector: Tensors) -> Any:
    found = func.jvp(_gradient(loss, parameters), parameters, vector, has_aux=True)
    _, product, value = cast("tuple[Any, Any, Any]", found)
    return value, product


def _jacrev(loss: Loss, parameters: Tensors, chunk: int | None = None) -> Any:
    return func.jacrev(loss, argnums=_every(parameters), chunk_size=chunk)(*parameters)


def _jacfwd(loss: Loss, parameters: Tensors) -> Any:
    # The same dropout for every column: they are columns of one function's Jacobian.
    return func.jacfwd(loss, argnums=_every(parameters), randomness="same")(*parameters)


def _over(outer: Callable[[Loss, Tensors], Any], loss: Loss, parameters: Tensors) -> Any:
    inner = func.jacrev(loss, argnums=_every(parameters))
    return outer(inner, parameters)


_REVERSE = {"vectorize": True, "strategy": "reverse-mode"}
_FORWARD = {"vectorize": True, "strategy": "forward-mode"}
FUNCTIONAL: Mapping[str, Derivative] = {
    "vjp": _by_functional("vjp"),
    "vhp": _by_functional("vhp"),
    "jvp": _by_functional("jvp"),
    "hvp": _by_functional("hvp"),
    "jacobian": _by_functional("jacobian"),
    "hessian": _by_functional("hessian"),
    "hessian_fwdrev": _by_functional("hessian", vectorize=True, outer_jacobian_strategy="forward-mode"),
    "hessian_revrev": _by_functional("hessian", vectorize=True, outer_jacobian_strategy="reverse-mode"),
    "jacfwd": _by_functional("jacobian", **_FORWARD),
    "jacrev": _by_functional("jacobian", **_REVERSE),
}
FUNC: Mapping[str, Derivative] = {
    "vjp": _by_func("vjp", _vjp),
    "vhp": _by_func("vjp of torch.func.grad_and_value", _vhp),
    "jvp": _by_func("jvp", _jvp),
    "hvp": _by_func("jvp of torch.func.grad_and_value", _hvp),
    # A loop over rows without vmap, as torch.autograd.functional.jacobian does it.
    "jacobian": _by_func("jacrev(chunk_size=1)", lambda loss, parameters, _: _jacrev(loss, parameters, chunk=1)),
    "hessian": _by_func("hessian", lambda loss, parameters, _: _over(_jacfwd, loss, parameters)),
    "hessian_fwdrev": _by_func("jacfwd of torch.func.jacrev", lambda loss, p, _: _over(_jacfwd, loss, p)),
    "hessian_revrev": _by_func("jacrev of torch.func.jacrev", lambda loss, p, _: _over(_jacrev, loss, p)),
    "jacfwd": _by_func("jacfwd", lambda loss, parameters, _: _jacfwd(loss, parameters)),
    "jacrev": _by_func("jacrev", lambda loss, parameters, _: _jacrev(loss, parameters)),
}
