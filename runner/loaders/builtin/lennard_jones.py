"""lennard_jones: a small network that learns the energy of a pair of particles from their distance."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from runner.loaders._building import Order, Parts
from runner.loaders._losses import SquaredError

_SIGMA = 0.5  # distance at which the potential is zero
_EPSILON = 4.0  # depth of its well


def build(order: Order) -> Parts:
    """Distances [B, 1] to energies [B, 1]; the loss is the squared distance from the potential's own energies."""
    widths = (1, 16, 16, 16, 16, 1)
    layers = [layer for pair in itertools.pairwise(widths) for layer in (nn.Linear(*pair), nn.Tanh())]
    distances = order.draw.uniform(_SIGMA, 2 * _SIGMA, order.batch_size, 1)
    return Parts(nn.Sequential(*layers[:-1]), (distances,), loss=SquaredError(_energy(distances)))


def _energy(distance: torch.Tensor) -> torch.Tensor:
    attraction = (_SIGMA / distance) ** 6
    return _EPSILON * (attraction**2 - attraction)
