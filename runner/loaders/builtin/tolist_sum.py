"""microbench_unbacked_tolist_sum: a thousand numbers that the program reads from tensors before it can go on."""

from __future__ import annotations

import torch
from torch import nn

from runner.loaders._building import Order, Parts

_INDICES = 1000


class TolistSum(nn.Module):
    """Sums values at places that are only known when the program runs."""

    def __init__(self) -> None:
        """One weight."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1))

    def forward(self, x: torch.Tensor, places: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """[B], int32 [1000] and int32 [1000] to [B]."""
        total: float = 0
        for place in places.tolist():
            torch._check(place >= 0)  # type: ignore[no-untyped-call]
            torch._check(place < values.size(0))  # type: ignore[no-untyped-call]
            total += values[place].item()
        return x * self.weight * total


def build(order: Order) -> Parts:
    """Places in order, values one."""
    places = torch.arange(_INDICES, dtype=torch.int32, device=order.device)
    return Parts(TolistSum(), (order.draw.normal(order.batch_size), places, torch.ones_like(places)))
