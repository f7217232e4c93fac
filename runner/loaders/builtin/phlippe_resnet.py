"""phlippe_resnet: the 20-layer residual network for 32-pixel images of He et al. 2015, with projecting shortcuts."""

from __future__ import annotations

import torch
from torch import nn

from runner.loaders._building import Order, Parts
from runner.loaders._losses import CrossEntropy
from runner.loaders._norms import settle_batch_norm

_CLASSES = 10
_IMAGE = (3, 32, 32)


class Residual(nn.Module):
    """Two convolutions beside a shortcut; with a wider output the image is halved and the shortcut projects."""

    def __init__(self, before: int, after: int) -> None:
        """From `before` to `after` channels."""
        super().__init__()
        stride = 1 if before == after else 2
        self.branch = nn.Sequential(
            nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, before, H, W] to [B, after, H / stride, W / stride]."""
        return torch.relu(self.branch(x) + self.shortcut(x))


def resnet(widths: tuple[int, ...] = (16, 32, 64), depth: int = 3) -> nn.Sequential:
    """A stem, `depth` blocks per width, and a linear classifier."""
    stem = [nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
    channels = [width for width in widths for _ in range(depth)]
    blocks = [Residual(before, after) for before, after in zip([widths[0], *channels], channels, strict=False)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], _CLASSES)]
    return nn.Sequential(*stem, *blocks, *head)


def build(order: Order) -> Parts:
    """Images [B, 3, 32, 32] to logits [B, 10]; cross-entropy with random labels."""
    model = resnet()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    settle_batch_norm(model, *_IMAGE)
    images = order.draw.normal(order.batch_size, *_IMAGE)
    return Parts(model, (images,), loss=CrossEntropy(order.draw.integers(0, _CLASSES, order.batch_size)))
