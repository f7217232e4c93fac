"""Adam, with upstream's learning rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Adam:
    """Arguments of torch.optim.Adam; `foreach` None lets torch choose, `capturable` is for CUDA graphs."""

    lr: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False
    capturable: bool = False
    foreach: bool | None = None

    @property
    def states(self) -> int:
        """First and second moment, and the largest second moment where it is asked for."""
        return 3 if self.amsgrad else 2

    def make(self, parameters: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
        """The optimizer over `parameters`."""
        import torch

        return torch.optim.Adam(
            parameters,
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            amsgrad=self.amsgrad,
            capturable=self.capturable,
            foreach=self.foreach,
        )
