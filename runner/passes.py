"""Forward and backward of a workload apart from each other, and what they gave compared with another model's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from runner import reference, state
from runner.compare_outputs import Rule, compare, magnitude
from runner.results import verdicts
from runner.results.columns import Phase, Row
from runner.results.tensors import Comparison, merge
from runner.trees import Flat, flatten
from runner.workload import Workload, map_tensors


class Passes:
    """Forward and backward of `f` in the place of a workload's model.

    `reset` precedes a forward, `prepare_backward` a backward: without gradients, on the inputs that the loader gave.
    """

    def __init__(self, workload: Workload, f: Callable[..., Any]) -> None:
        self.workload = workload
        self.f = f
        self.has_backward = True
        self.unused: list[str] = []  # parameters that the loss does not depend on
        self._inputs = state.Inputs(workload)
        self._changes_inputs = False
        self._loss: torch.Tensor | None = None

    def try_out(self) -> None:
        """Do both once, and find out what this model is like."""
        self.reset()
        loss = self.workload.loss(self.forward())
        self._changes_inputs = bool(self._inputs.changed())
        self.has_backward = loss.requires_grad
        if self.has_backward:
            loss.backward()  # type: ignore[no-untyped-call]
            trained = {name: p for name, p in self.workload.parameters().items() if p.requires_grad}
            self.unused = [name for name, p in trained.items() if p.grad is None]

    def reset(self) -> None:
        """Drop gradients; put inputs back if the model changes them."""
        self._loss = None
        if self._changes_inputs:
            self._inputs.load()
        self.workload.zero_grad()

    def forward(self) -> Any:
        """The output, with what a backward needs."""
        with torch.enable_grad(), self.workload.autocast():
            return self.f(*self.workload.args, **self.workload.kwargs)

    def prepare_backward(self) -> None:
        """Everything up to the loss."""
        self.reset()
        output = self.forward()
        with torch.enable_grad(), self.workload.autocast():
            self._loss = self.workload.loss(output)

    def backward(self) -> None:
        """From the loss of `prepare_backward` to the parameters' gradients."""
        assert self._loss is not None
        self._loss.backward()  # type: ignore[no-untyped-call]

    def results(self, seed: int) -> tuple[Flat, Flat]:
        """Copies of outputs and of gradients, the latter empty without a backward; dropout is off meanwhile."""
        with state.dropout_off(self.workload.model):
            state.seed_all(seed)
            self.reset()
            output = self.forward()
            kept = flatten(map_tensors(lambda t: t.detach().clone(), output), "output")
            if self.has_backward:
                self.workload.loss(output).backward()  # type: ignore[no-untyped-call]
        parameters = self.workload.parameters() if self.has_backward else {}
        return kept, Flat({f"gradients.{name}": p.grad for name, p in parameters.items()})


@dataclass(frozen=True)
class Agreement:
    """How one model's outputs and gradients compare with those of `other`, which computes the same."""

    other: str
    comparison: Comparison

    def row(self) -> Row:
        """Columns of the check and, if they differ, of the outcome."""
        found = self.comparison
        row: Row = {
            "accuracy": verdicts.PASS if found.ok else verdicts.FAIL_ACCURACY,
            "reference": self.other,
            "max_abs_err": found.max_abs_err,
            "max_rel_err": found.max_rel_err,
            "worst_tensor": found.worst_tensor,
        }
        if found.ok:
            return row
        status = verdicts.status_of(verdicts.FAIL_ACCURACY).value
        return row | {"status": status, "phase": Phase.CHECK.value, "error": found.reason}


def agree(own: Passes, other: Passes, seed: int, tolerance: float) -> Agreement:
    """Compare two models that compute the same from equal weights and inputs, both tried out.

    Values beyond the tolerance count as equal if they are about as close to the other model's in fp64 as the other
    model itself is: where both compute in bf16 or TF32, neither is right.
    """
    mine, theirs = own.results(seed), other.results(seed)
    groups = [pair for pair in zip(mine, theirs, strict=True) if own.has_backward or pair[0]]
    rules = [Rule(tolerance, scale=min(1.0, magnitude(theirs) or 1.0)) for _, theirs in groups]
    plain = merge(compare(b, a, None, rule) for (a, b), rule in zip(groups, rules, strict=True))
    if plain.ok:
        return Agreement(other.workload.name, plain)
    wide = _in_fp64(other, seed)
    if wide is None:
        return Agreement(other.workload.name, plain)
    rows = zip(groups, wide, rules, strict=False)
    return Agreement(other.workload.name, merge(compare(b, a, w, rule) for (a, b), w, rule in rows))


def _in_fp64(passes: Passes, seed: int) -> tuple[Flat, Flat] | None:
    """What the model gives in fp64; None where that is no wider, or the device has no fp64."""
    if "fp64" not in reference.wider_dtypes(passes.workload):
        return None
    try:
        wide = reference.widened(passes.workload, torch.float64)
    except (TypeError, NotImplementedError):
        return None
    found = Passes(wide, wide.model)
    found.has_backward = passes.has_backward
    return found.results(seed)
