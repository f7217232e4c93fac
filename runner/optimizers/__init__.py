"""Optimizers of the training step: one module per optimizer, the dataclass' fields are the keys `optimizer.*`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class Optimizer(Protocol):
    """A dataclass whose module imports torch inside methods only."""

    @property
    def states(self) -> int:
        """Numbers that it keeps for every parameter."""
        ...

    def make(self, parameters: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
        """The optimizer over `parameters`."""
        ...
