"""resnet18: an 18-layer residual network whose batch norm keeps no running statistics."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from runner.loaders._building import Order, Parts
from runner.loaders._losses import CrossEntropy
from runner.loaders.builtin.residual import WIDTHS, Basic, trunk

_CLASSES = 1000
_LABELS = 10  # only the first ones occur


def build(order: Order, image: int = 224, widths: Sequence[int] = WIDTHS) -> Parts:
    """Images [B, 3, image, image] to logits [B, 1000]; cross-entropy with labels below 10."""
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], _CLASSES)]
    model = nn.Sequential(*trunk(Basic, (2, 2, 2, 2), widths), *head)
    images = order.draw.uniform(0, 1, order.batch_size, 3, image, image)
    return Parts(model, (images,), loss=CrossEntropy(order.draw.integers(0, _LABELS, order.batch_size)))
