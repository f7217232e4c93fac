"""Stochastic gradient descent, with upstream's learning rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Sgd:
    """Arguments of torch.optim.SGD; `foreach` None lets torch choose."""

    lr: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    foreach: bool | None = None

    @property
    def states(self) -> int:
        """The momentum, where there is one."""
        return int(self.momentum != 0)

    def make(self, parameters: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
        """The optimizer over `parameters`."""
        import torch

        return torch.optim.SGD(parameters, **asdict(self))
