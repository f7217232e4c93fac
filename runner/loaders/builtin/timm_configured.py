"""Any model of timm, on images of the size that its own configuration gives."""

from __future__ import annotations

from typing import Any

import torch

from runner.errors import Unsupported
from runner.loaders._building import Order, Parts
from runner.loaders._losses import CrossEntropy, projection
from runner.loaders._norms import settle_batch_norm
from runner.loaders._packages import require, torchvision
from runner.loaders._weights import wake
from runner.loaders.names import listed_version


def build(order: Order, model: str) -> Parts:
    """Build timm's `model` on standardised images [B, C, H, W]; in inference of its test size where it has one.

    The loss is the cross-entropy with random labels [B], of a tuple's first member; a model that gives features
    instead of logits has a projection of them.
    """
    net: Any = make(model)
    from timm.data.config import resolve_model_data_config

    resolve: Any = resolve_model_data_config  # untyped
    size = resolve(net, use_test_size=not order.training)["input_size"]
    net = settle_batch_norm(wake(net), *size)
    images = order.draw.integers(0, 256, order.batch_size, *size).float()
    if not images.is_meta:
        images = (images - images.mean()) / images.std()
    if not net.num_classes:
        return Parts(net, (images,), loss=projection)
    labels = order.draw.integers(0, net.num_classes, order.batch_size)
    return Parts(net, (images,), loss=_First(CrossEntropy(labels)))


def make(model: str) -> Any:
    """The model without dropout, as dynamobench makes it; a family that knows no such argument is made as it is."""
    require("timm", "1.0")
    torchvision()  # timm imports it
    import timm

    if not timm.is_model(model):
        listed = listed_version("timm")
        raise Unsupported(f"timm {timm.__version__} has no model {model}: pip install timm=={listed}")
    try:
        return timm.create_model(model, pretrained=False, drop_rate=0.0)
    except TypeError:
        return timm.create_model(model, pretrained=False)


class _First:
    """The loss of the first output, where there are several (of a model's auxiliary heads)."""

    def __init__(self, loss: CrossEntropy) -> None:
        self._loss = loss

    def __call__(self, output: Any) -> torch.Tensor:
        return self._loss(output[0] if isinstance(output, tuple | list) else output)
