"""Image classifiers of timm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.loaders._building import Order, Parts
from runner.loaders._losses import CrossEntropy
from runner.loaders._norms import settle_batch_norm
from runner.loaders._packages import require, torchvision

_CLASSES = 1000
_IMAGE = (3, 224, 224)


def classifier(order: Order, model: str, options: Mapping[str, Any] | None = None) -> Parts:
    """Build timm's `model`, on images [B, 3, 224, 224]; logits [B, 1000], cross-entropy with random labels.

    `options` go to timm's constructor of the model.
    """
    require("timm", "1.0")
    torchvision()  # timm imports it
    import timm

    net = settle_batch_norm(timm.create_model(model, pretrained=False, **(options or {})), *_IMAGE)
    images = order.draw.normal(order.batch_size, *_IMAGE)
    return Parts(net, (images,), loss=CrossEntropy(order.draw.integers(0, _CLASSES, order.batch_size)))
