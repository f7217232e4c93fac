"""Image classifiers of torchvision."""

from __future__ import annotations

from runner.loaders._building import Order, Parts
from runner.loaders._losses import CrossEntropy
from runner.loaders._norms import settle_batch_norm
from runner.loaders._packages import torchvision

_CLASSES = 1000
_IMAGE = (3, 224, 224)


def classifier(order: Order, model: str) -> Parts:
    """`torchvision.models.<model>` on images [B, 3, 224, 224]; logits [B, 1000], cross-entropy with random labels."""
    net = settle_batch_norm(getattr(torchvision().models, model)(weights=None), *_IMAGE)
    images = order.draw.normal(order.batch_size, *_IMAGE)
    return Parts(net, (images,), loss=CrossEntropy(order.draw.integers(0, _CLASSES, order.batch_size)))
