"""dlrm: the recommendation model of Naumov et al. 2019, eight tables of a million vectors and two small networks."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from runner.loaders._building import Order, Parts
from runner.loaders._losses import SquaredError

_TABLES, _ROWS, _WIDTH = 8, 1_000_000, 64
_LOOKUPS = 100  # per sample and table
_BOTTOM = (512, 512, _WIDTH)
_FEATURES = _TABLES + 1
_TOP = (_WIDTH + _FEATURES * (_FEATURES - 1) // 2, 1024, 1024, 1024, 1)


class Dlrm(nn.Module):
    """Dense features through a network, sparse ones through tables; products of all pairs through another network."""

    pairs: torch.Tensor

    def __init__(self) -> None:
        """The tables' gradients are sparse."""
        super().__init__()
        self.bottom, self.top = network(_BOTTOM), network(_TOP)
        self.tables = nn.ModuleList(_table() for _ in range(_TABLES))
        self.register_buffer("pairs", torch.tensor(list(itertools.combinations(range(_FEATURES), 2))).T)

    def forward(self, dense: torch.Tensor, offsets: torch.Tensor, indices: list[torch.Tensor]) -> torch.Tensor:
        """[B, 512], where each sample's lookups begin [8, B], and lookups [100 B] per table, to scores [B, 1]."""
        x = self.bottom(dense)
        rows = zip(self.tables, indices, offsets, strict=True)
        features = torch.stack((x, *(table(index, start) for table, index, start in rows)), dim=1)
        first, second = self.pairs
        products = torch.bmm(features, features.transpose(1, 2))[:, second, first]
        score: torch.Tensor = self.top(torch.cat((x, products), dim=1))
        return score


def network(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with ReLU after each, the last one included; weights with Glorot's deviation."""
    return nn.Sequential(*(layer for pair in itertools.pairwise(widths) for layer in (_linear(*pair), nn.ReLU())))


def _linear(before: int, after: int) -> nn.Module:
    layer = nn.Linear(before, after)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _table() -> nn.Module:
    table = nn.EmbeddingBag(_ROWS, _WIDTH, mode="sum", sparse=True)
    nn.init.uniform_(table.weight, -(_ROWS**-0.5), _ROWS**-0.5)
    return table


def build(order: Order) -> Parts:
    """Random features and lookups; squared error against random clicks."""
    batch = order.batch_size
    offsets = (torch.arange(batch, device=order.device) * _LOOKUPS).repeat(_TABLES, 1)
    indices = [order.draw.integers(0, _ROWS, batch * _LOOKUPS) for _ in range(_TABLES)]
    clicks = order.draw.integers(0, 2, batch, 1).float()
    dense = order.draw.uniform(0, 1, batch, _BOTTOM[0])
    return Parts(Dlrm(), (dense, offsets, indices), loss=SquaredError(clicks))
