"""Image classifiers of torchvision."""

from __future__ import annotations

from torch import nn

from runner.loaders._building import Order, Parts
from runner.loaders._losses import CrossEntropy
from runner.loaders._norms import settle_batch_norm
from runner.loaders._packages import torchvision

_CLASSES = 1000
_IMAGE = (3, 224, 224)
_SMALL_IMAGE = (3, 32, 32)
_SMALL_LABELS = 10  # only the first ones of the thousand occur
_GROUPS = 32


def classifier(order: Order, model: str) -> Parts:
    """`torchvision.models.<model>` on images [B, 3, 224, 224]; logits [B, 1000], cross-entropy with random labels."""
    net = settle_batch_norm(getattr(torchvision().models, model)(weights=None), *_IMAGE)
    images = order.draw.normal(order.batch_size, *_IMAGE)
    return Parts(net, (images,), loss=CrossEntropy(order.draw.integers(0, _CLASSES, order.batch_size)))


def group_normed(order: Order, model: str) -> Parts:
    """The same with group norm instead of batch norm, on images [B, 3, 32, 32] with ten of the labels.

    Samples then don't influence each other, as gradients per sample need it.
    """
    net = getattr(torchvision().models, model)(weights=None, norm_layer=_group_norm)
    images = order.draw.normal(order.batch_size, *_SMALL_IMAGE)
    return Parts(net, (images,), loss=CrossEntropy(order.draw.integers(0, _SMALL_LABELS, order.batch_size)))


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(min(_GROUPS, channels), channels)
