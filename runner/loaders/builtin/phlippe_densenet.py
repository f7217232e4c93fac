"""phlippe_densenet: a small densely connected network (Huang et al. 2017) for images of 32 pixels."""

from __future__ import annotations

import torch
from torch import nn

from runner.loaders._building import Order, Parts
from runner.loaders._losses import CrossEntropy
from runner.loaders._norms import settle_batch_norm

_CLASSES = 10
_IMAGE = (3, 32, 32)
_GROWTH = 16  # channels that a layer adds
_BOTTLENECK = 2 * _GROWTH
_BLOCKS, _LAYERS = 4, 6


class Dense(nn.Module):
    """Computes `_GROWTH` new channels and puts them before its input."""

    def __init__(self, before: int) -> None:
        """From `before` channels to `before + _GROWTH`."""
        super().__init__()
        self.grow = nn.Sequential(
            *(nn.BatchNorm2d(before), nn.ReLU(), nn.Conv2d(before, _BOTTLENECK, 1, bias=False)),
            *(nn.BatchNorm2d(_BOTTLENECK), nn.ReLU(), nn.Conv2d(_BOTTLENECK, _GROWTH, 3, padding=1, bias=False)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, before, H, W] to [B, before + _GROWTH, H, W]."""
        return torch.cat((self.grow(x), x), dim=1)


def densenet() -> nn.Sequential:
    """Blocks of dense layers; between two blocks channels and image are halved."""
    channels = _BOTTLENECK
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1)]
    for block in range(_BLOCKS):
        if block:
            layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels // 2, 1, bias=False)]
            layers.append(nn.AvgPool2d(2))
            channels //= 2
        layers += [Dense(channels + i * _GROWTH) for i in range(_LAYERS)]
        channels += _LAYERS * _GROWTH
    head = (nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, _CLASSES))
    return nn.Sequential(*layers, *head)


def build(order: Order) -> Parts:
    """Images [B, 3, 32, 32] to logits [B, 10]; cross-entropy with random labels."""
    model = densenet()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    settle_batch_norm(model, *_IMAGE)
    images = order.draw.normal(order.batch_size, *_IMAGE)
    return Parts(model, (images,), loss=CrossEntropy(order.draw.integers(0, _CLASSES, order.batch_size)))
