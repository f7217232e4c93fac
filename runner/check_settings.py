"""How a check of a backend is done: steps, runs, tolerance, and what the model's policy has to say about them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from runner import reference
from runner.workload import Mode, Policy, Workload

NOISY_RUNS = 5  # eager runs of a model that is known to differ from itself: one difference says little about the next


@dataclass(frozen=True)
class CheckSettings:
    """How a check is done. `tolerance` None takes the model's policy, else the default for the precision.

    `free_bytes` is the device's free memory: a reference that can't fit in it isn't tried (None: try). One eager run
    is enough for those who don't want the model's own noise.
    """

    seed: int = 0
    iterations: int = 2
    eager_runs: int = 2
    tolerance: float | None = None
    reference: bool = True
    free_bytes: int | None = None


def default_tolerance(workload: Workload) -> float:
    """Absolute and relative tolerance of a workload whose policy names none.

    TorchBench's rule: 1e-4; 1e-3 for fp16, autocast and training on an accelerator. Plain bf16 gets 1e-2, which
    upstream grants by a list: bf16 resolves no more than 4e-3.
    """
    if workload.policy.tolerance is not None:
        return workload.policy.tolerance
    precision = workload.precision
    if precision.dtype == "bfloat16" and not precision.autocast:
        return 1e-2
    on_accelerator = workload.mode is Mode.training and torch.device(workload.device).type != "cpu"
    return 1e-3 if reference.is_low_precision(workload) or on_accelerator else 1e-4


def with_policy(settings: CheckSettings, policy: Policy) -> CheckSettings:
    """The settings as the model wants them."""
    runs = NOISY_RUNS if policy.nondeterministic else 1
    without = policy.reference is False
    return replace(settings, eager_runs=max(settings.eager_runs, runs), reference=settings.reference and not without)
