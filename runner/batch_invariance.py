"""Does a sample's output depend on how many others are in its batch? The full batch against its own first parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch._inductor import config as inductor

from runner.check import is_oom
from runner.collect import forward
from runner.compare_outputs import Rule, compare
from runner.results import verdicts
from runner.results.columns import Row
from runner.results.tensors import Comparison
from runner.state import State, seed_all
from runner.trees import Flat
from runner.workload import Workload, map_tensors

#: What inductor is told where it knows the setting: every kernel has to do its sums in an order of its own.
SETTINGS = {"batch_invariant": True, "triton.cudagraphs": False}


@dataclass(frozen=True)
class Invariance:
    """Upstream's word, why, and the comparison that failed."""

    accuracy: str
    reason: str = ""
    comparison: Comparison = field(default_factory=Comparison)
    error_type: str = ""

    def row(self) -> Row:
        """Columns of the check and of the outcome."""
        status = verdicts.status_of(self.accuracy).value
        found = {"accuracy": self.accuracy, "status": status, "error": self.reason, "error_type": self.error_type}
        return found | {"max_abs_err": self.comparison.max_abs_err, "worst_tensor": self.comparison.worst_tensor}


def sizes(batch_size: int) -> Iterator[int]:
    """Halves down to 1."""
    while batch_size > 1:
        batch_size //= 2
        yield batch_size


def part_of(workload: Workload, count: int) -> Workload:
    """The workload with the first `count` samples of every input whose first dimension is the batch."""
    size = workload.batch_size

    def first(tensor: torch.Tensor) -> torch.Tensor:
        return tensor[:count].clone() if tensor.ndim and tensor.shape[0] == size else tensor

    args, kwargs = map_tensors(first, (workload.args, workload.kwargs))
    return replace(workload, args=args, kwargs=kwargs, batch_size=count)


def invariance(workload: Workload, prepare: Callable[[Workload], Callable[..., Any]], seed: int) -> Invariance:
    """Compare bit for bit, each batch size with a program of its own; `pass_due_to_skip` where nothing can be cut."""
    size = workload.batch_size or 0
    whole = [*workload.args, *workload.kwargs.values()]
    if size < 2 or not any(isinstance(t, torch.Tensor) and t.ndim and t.shape[0] == size for t in whole):
        return Invariance("pass_due_to_skip", f"no input has the batch (of {size}) as its first dimension")
    saved, reference = State(workload), Flat()
    for count in (size, *sizes(size)):
        try:
            found = _forward(part_of(workload, count), prepare, saved, seed)
        except Exception as error:  # noqa: BLE001 - a model or a backend may raise anything
            word = "OOM" if is_oom(error) else f"fail_to_run_at_batch_{count}"
            return Invariance(word, f"{type(error).__name__}: {error}".splitlines()[0], error_type=type(error).__name__)
        reference = reference or found
        comparison = compare(_cut(reference, size, count), _cut(found, count, count), None, Rule(0.0))
        if not comparison.ok:
            return Invariance(f"fail_batch_invariance_at_{count}", f"batch {count}: {comparison.reason}", comparison)
    return Invariance(verdicts.PASS)


def _forward(workload: Workload, prepare: Callable[[Workload], Callable[..., Any]], saved: State, seed: int) -> Flat:
    torch._dynamo.reset()
    saved.restore()
    seed_all(seed)
    with _settings():
        return forward(workload, prepare(workload))


def _settings() -> AbstractContextManager[Any]:
    known = inductor.get_config_copy()
    patched: AbstractContextManager[Any] = inductor.patch({k: v for k, v in SETTINGS.items() if k in known})
    return patched


def _cut(flat: Flat, size: int, count: int) -> Flat:
    """Outputs whose first dimension is the batch, their first `count` samples."""
    tensors = {path: leaf for path, leaf in flat.items() if isinstance(leaf, torch.Tensor)}
    return Flat({path: t[:count] for path, t in tensors.items() if t.ndim and t.shape[0] == size})
