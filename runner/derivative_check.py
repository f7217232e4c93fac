"""Do two ways to compute the same derivative agree? Element by element, else by their distances from an fp64 run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from runner.results.columns import Phase, Row
from runner.results.tensors import Comparison, TensorResult
from runner.results.verdicts import status_of
from runner.workload import named_tensors

RELATIVE = 1e-5
#: Absolute tolerance; of a vhp a larger one, since it sums over all rows of a Hessian.
ABSOLUTE, ABSOLUTE_VHP = 5e-3, 1e-2
#: By how much the candidate may be farther from fp64 than the reference is.
FARTHER = 2.0
#: An fp64 run tells nothing where it and the reference are farther apart than this, of the reference's own size.
UNRELATED = 1e-2


@dataclass(frozen=True)
class Agreement:
    """What came out. `word` is one of column accuracy's, `precise` whether fp64 was asked."""

    word: str
    comparison: Comparison
    precise: bool

    def row(self) -> Row:
        """Columns of the check and, where the candidate is wrong, of the outcome."""
        row: Row = {
            "accuracy": self.word,
            "reference": "fp64" if self.precise else "none",
            "max_abs_err": self.comparison.max_abs_err,
            "max_rel_err": self.comparison.max_rel_err,
            "worst_tensor": self.comparison.worst_tensor,
        }
        if self.word.startswith("pass"):
            return row
        status = status_of(self.word, Phase.CHECK)
        return row | {"status": status.value, "phase": Phase.CHECK.value, "error": self.comparison.reason}


def agreement(
    task: str, reference: Any, candidate: Any, in_fp64: Callable[[], Any] | None, tolerance: float | None = None
) -> Agreement:
    """Judge `candidate` by `reference`, two results of the same structure.

    `in_fp64` computes the reference in float64; it is called only where the two differ by more than the tolerance, and
    is None where that can't be done. `tolerance` is absolute and relative; None means the task's own.
    """
    absolute = ABSOLUTE_VHP if task == "vhp" else ABSOLUTE
    allowed = (absolute, RELATIVE) if tolerance is None else (tolerance, tolerance)
    sides = zip(named_tensors(reference), named_tensors(candidate), strict=True)
    pairs = [(name, a.detach(), b.detach()) for (name, a), (_, b) in sides]
    found = Comparison(tuple(_compare(name, a, b, *allowed) for name, a, b in pairs))
    if found.ok:
        return Agreement("pass", found, precise=False)
    if in_fp64 is None or not all(a.isfinite().all() and b.isfinite().all() for _, a, b in pairs):
        return Agreement("fail_accuracy", found, precise=False)
    precise = [tensor.detach() for _, tensor in named_tensors(in_fp64())]
    triples = [(a, b, exact) for (_, a, b), exact in zip(pairs, precise, strict=True)]
    if all(_as_near(*three) for three in triples):
        return Agreement("pass_within_eager_noise", found, precise=True)
    unsure = all(_as_near(*three) or _fp64_is_farther(*three) for three in triples)
    return Agreement("reference_unusable" if unsure else "fail_accuracy", found, precise=True)


def _compare(name: str, reference: torch.Tensor, candidate: torch.Tensor, atol: float, rtol: float) -> TensorResult:
    shape = "x".join(map(str, reference.shape))
    if reference.shape != candidate.shape:
        reason = f"has another shape: {list(candidate.shape)} instead of {list(reference.shape)}"
        return TensorResult(name, False, reason, shape)
    error = (reference - candidate).abs()
    size = reference.abs()
    good = bool((error <= atol + rtol * size).all())
    absolute, relative = float(error.max()), float((error / (1 + size)).max())
    reason = "" if good else f"differs by {absolute:.3g} (tolerance {atol:g} and {rtol:g} of the value)"
    return TensorResult(name, good, reason, shape, str(reference.dtype).removeprefix("torch."), absolute, relative)


def _as_near(reference: torch.Tensor, candidate: torch.Tensor, exact: torch.Tensor) -> bool:
    """Whether the candidate is about as near to `exact` as the reference is, or nearer."""
    ours, theirs = _distance(reference, exact), _distance(candidate, exact)
    size = _distance(exact, torch.zeros_like(exact))
    rounding = torch.finfo(reference.dtype).eps * size
    return ours <= UNRELATED * size and theirs <= FARTHER * ours + rounding


def _fp64_is_farther(reference: torch.Tensor, candidate: torch.Tensor, exact: torch.Tensor) -> bool:
    """Whether the reference is nearer to the candidate than to an fp64 run that tells nothing."""
    ours, size = _distance(reference, exact), _distance(exact, torch.zeros_like(exact))
    return ours > UNRELATED * size and _distance(reference, candidate) <= ours


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.double() - other.double()).square().mean().sqrt())
