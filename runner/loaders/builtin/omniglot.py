"""functorch_maml_omniglot: the convolutional network that MAML (Finn et al. 2017) adapts to five new letters."""

from __future__ import annotations

from torch import nn

from runner.loaders._building import Order, Parts
from runner.loaders._losses import CrossEntropy

_WAYS = 5  # letters of a task
_IMAGE = (1, 28, 28)
_CHANNELS, _BLOCKS = 64, 3


def network() -> nn.Sequential:
    """Three convolutions, with the batch's own statistics, until one place is left."""
    layers: list[nn.Module] = []
    for before in (_IMAGE[0], *[_CHANNELS] * (_BLOCKS - 1)):
        layers += [nn.Conv2d(before, _CHANNELS, 3), nn.BatchNorm2d(_CHANNELS, track_running_stats=False)]
        layers += [nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(_CHANNELS, _WAYS))


def build(order: Order) -> Parts:
    """B tasks of one letter of each kind: images [5 B, 1, 28, 28] to logits [5 B, 5]; cross-entropy."""
    letters = order.draw.normal(_WAYS * order.batch_size, *_IMAGE)
    return Parts(network(), (letters,), loss=CrossEntropy(order.draw.integers(0, _WAYS, _WAYS * order.batch_size)))
