"""Losses with their targets, for models whose mean output would be a poor loss: a softmax's mean has no gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from runner.workload import tensors_of


@dataclass(frozen=True, eq=False)
class CrossEntropy:
    """Cross-entropy of logits [..., classes] with int64 `labels` [...]."""

    labels: torch.Tensor

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Mean over all labels."""
        return functional.cross_entropy(logits.flatten(0, -2), self.labels.flatten())


@dataclass(frozen=True, eq=False)
class SquaredError:
    """Mean squared distance from `targets`, in the output's dtype."""

    targets: torch.Tensor

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        """Mean over all elements."""
        return functional.mse_loss(output, self.targets.to(output.dtype))


def own_loss(output: Any) -> torch.Tensor:
    """The loss that a transformers model puts into its output when it is given labels."""
    loss: torch.Tensor = output.loss
    return loss


def projection(output: Any) -> torch.Tensor:
    """Mean of all floating elements, each weighted by the cosine of its place in the last dimension.

    For features: the plain mean of what a layer norm gives is 0 whatever the model does, and so is its gradient.
    """
    found = [t for t in tensors_of(output) if t.is_floating_point() and t.dim()]
    weighted = [(t * torch.arange(t.shape[-1], device=t.device).cos().to(t.dtype)).mean() for t in found]
    return torch.stack(weighted).mean()
