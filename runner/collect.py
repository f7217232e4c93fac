"""One run of a workload: a few steps from one seed, and copies of everything that they gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from runner import state
from runner.trees import Flat, flatten
from runner.workload import Mode, Step, Workload

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Result:
    """What one run gave: groups of tensors by name (`step1.output`, `step2.gradients`, `buffers`, ...).

    `gradients` are those that the optimizer saw in each step, None where a parameter had none.
    """

    groups: dict[str, Flat] = field(default_factory=dict)
    gradients: list[dict[str, torch.Tensor | None]] = field(default_factory=list)

    def add(self, name: str, value: Any) -> None:
        """Keep copies of all tensors in `value`."""
        flat = flatten(value, name)
        self.groups[name] = Flat({path: _copied(leaf) for path, leaf in flat.items()})

    def add_named(self, group: str, tensors: dict[str, torch.Tensor]) -> None:
        """Keep copies of `tensors`, each under its own name."""
        self.groups[group] = Flat({f"{group}.{name}": _copied(t) for name, t in tensors.items()})


def _copied(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        return state.local(leaf.detach()).clone()
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf


def collect(  # noqa: PLR0913 - four are what is run, two are settings
    workload: Workload, f: Callable[..., Any], inputs: state.Inputs, *, seed: int, num_steps: int, vary: bool
) -> Result:
    """Seed, take `num_steps` steps with `f` in the model's place, and keep copies of what they gave.

    Step i runs on the inputs rolled by i, with `vary` off on the same ones. The caller restores the state before.
    """
    result = Result()
    state.seed_all(seed)
    for i in range(num_steps):
        inputs.load(i if vary else 0)
        own = state.with_own_containers(workload)
        _record(result, f"step{i + 1}", workload, own.step(f), inputs)
    result.add_named("buffers", dict(workload.buffers()))
    if workload.mode is Mode.training:
        result.add_named("parameters", dict(workload.parameters()))
    return result


def forward(workload: Workload, f: Callable[..., Any]) -> Flat:
    """Copies of the output of one call of `f` as a step makes it, without the rest of the step."""
    own = state.with_own_containers(workload)
    with torch.set_grad_enabled(own.mode is Mode.training or own.grad), own.autocast():
        return Flat({path: _copied(leaf) for path, leaf in flatten(f(*own.args, **own.kwargs)).items()})


def _record(result: Result, name: str, workload: Workload, step: Step, inputs: state.Inputs) -> None:
    result.add(f"{name}.output", step.output)
    result.add_named(f"{name}.inputs", inputs.changed())
    if workload.mode is Mode.training:
        result.add(f"{name}.loss", step.loss)
        trained = {key: p for key, p in workload.parameters().items() if p.requires_grad}
        result.gradients.append({key: _whole(p.grad) for key, p in trained.items()})
        result.groups[f"{name}.gradients"] = _with_zeros(f"{name}.gradients", result.gradients[-1], trained)
        leaves = {key: t for key, t in inputs.live.items() if t.requires_grad and t.is_leaf}
        grads = {key: t.grad for key, t in leaves.items()}
        result.groups[f"{name}.input_gradients"] = _with_zeros(f"{name}.input_gradients", grads, leaves)


def _whole(gradient: torch.Tensor | None) -> torch.Tensor | None:
    """A copy that an optimizer takes: not only the shard that is compared."""
    return None if gradient is None else gradient.detach().clone()


def _with_zeros(group: str, gradients: dict[str, torch.Tensor | None], of: dict[str, torch.Tensor]) -> Flat:
    """Gradients by path; one that is missing counts as zeros, as upstream has it."""
    flat = Flat()
    for key, gradient in gradients.items():
        flat[f"{group}.{key}"] = torch.zeros_like(of[key]) if gradient is None else _copied(gradient)
    return flat
