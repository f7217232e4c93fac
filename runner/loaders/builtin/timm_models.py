"""Image classifiers of timm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from runner.loaders._building import Order, Parts
from runner.loaders._losses import CrossEntropy
from runner.loaders._norms import settle_batch_norm
from runner.loaders._packages import require, torchvision

_CLASSES = 1000
_IMAGE = (3, 224, 224)


def classifier(
    order: Order, model: str, options: Mapping[str, Any] | None = None, image: Sequence[int] = _IMAGE
) -> Parts:
    """Build timm's `model`, on images [B, *image]; logits [B, 1000], cross-entropy with random labels.

    `options` go to timm's constructor of the model.
    """
    net = settle_batch_norm(_make(model, **(options or {})), *image)
    return _on_images(order, net, image)


def nfnet(order: Order, model: str, image: Sequence[int]) -> Parts:
    """The same for a network without norms, whose blocks' last gains are zero at first: they are made one."""
    net = _make(model)
    with torch.no_grad():
        for name, gain in net.named_parameters():
            if name.endswith("skipinit_gain"):
                gain.fill_(1)
    return _on_images(order, net, image)


def _make(model: str, **options: Any) -> nn.Module:
    require("timm", "1.0")
    torchvision()  # timm imports it
    import timm

    net: nn.Module = timm.create_model(model, pretrained=False, **options)
    return net


def _on_images(order: Order, net: nn.Module, image: Sequence[int]) -> Parts:
    images = order.draw.normal(order.batch_size, *image)
    return Parts(net, (images,), loss=CrossEntropy(order.draw.integers(0, _CLASSES, order.batch_size)))
