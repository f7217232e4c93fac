"""LearningToPaint: the actor of Huang et al. 2019, a residual network that looks at a canvas and gives five strokes."""

from __future__ import annotations

import torch
from torch import nn

from runner.loaders._building import Order, Parts
from runner.loaders._losses import SquaredError
from runner.loaders._norms import settle_batch_norm

_IMAGE = (9, 128, 128)  # canvas, picture, the step's number and two coordinates
_WIDTHS = (64, 128, 256, 512)
_BLOCKS = 2  # per width
_STROKES = 65  # five of thirteen numbers


class Residual(nn.Module):
    """Two convolutions beside a shortcut, which projects where the image is halved."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        """From `before` to `after` channels."""
        super().__init__()
        self.branch = nn.Sequential(
            *(conv3(before, after, stride), nn.BatchNorm2d(after), nn.ReLU()),
            *(conv3(after, after), nn.BatchNorm2d(after)),
        )
        projection = (nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))
        self.shortcut = nn.Identity() if stride == 1 else nn.Sequential(*projection)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, before, H, W] to [B, after, H / stride, W / stride]."""
        return torch.relu(self.branch(x) + self.shortcut(x))


def conv3(before: int, after: int, stride: int = 1) -> nn.Module:
    """A 3x3 convolution without bias."""
    return nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)


def actor() -> nn.Sequential:
    """ResNet-18 whose stem and all of whose stages halve the image; every number of a stroke is between 0 and 1."""
    layers: list[nn.Module] = [conv3(_IMAGE[0], _WIDTHS[0], 2), nn.BatchNorm2d(_WIDTHS[0]), nn.ReLU()]
    before = _WIDTHS[0]
    for width in _WIDTHS:
        for i in range(_BLOCKS):
            layers.append(Residual(before, width, 1 if i else 2))
            before = width
    head = (nn.AvgPool2d(4), nn.Flatten(), nn.Linear(before, _STROKES), nn.Sigmoid())
    return nn.Sequential(*layers, *head)


def build(order: Order) -> Parts:
    """Observations [B, 9, 128, 128] to strokes [B, 65]; squared error against random strokes."""
    observations = order.draw.uniform(0, 1, order.batch_size, *_IMAGE)
    strokes = order.draw.uniform(0, 1, order.batch_size, _STROKES)
    return Parts(settle_batch_norm(actor(), *_IMAGE), (observations,), loss=SquaredError(strokes))
