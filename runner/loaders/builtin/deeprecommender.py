"""nvidia_deeprecommender: the autoencoder of Kuchaiev and Ginsburg 2017 over the ratings of 197 951 items."""

from __future__ import annotations

import itertools

from torch import nn

from runner.loaders._building import Order, Parts
from runner.loaders._losses import SquaredError

_ITEMS = 197_951
_WIDTHS = (_ITEMS, 512, 512, 1024)
_DROPOUT = 0.8  # of the code


def autoencoder() -> nn.Sequential:
    """SELU after every layer, the last one included; decoder and encoder share no weights."""
    return nn.Sequential(*_layers(_WIDTHS), nn.Dropout(_DROPOUT), *_layers(_WIDTHS[::-1]))


def _layers(widths: tuple[int, ...]) -> list[nn.Module]:
    return [layer for pair in itertools.pairwise(widths) for layer in (_linear(*pair), nn.SELU())]


def _linear(before: int, after: int) -> nn.Module:
    layer = nn.Linear(before, after)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def build(order: Order) -> Parts:
    """Ratings [B, 197951], all of them given, to the same shape; squared error against themselves."""
    ratings = order.draw.normal(order.batch_size, _ITEMS)
    return Parts(autoencoder(), (ratings,), loss=SquaredError(ratings))
