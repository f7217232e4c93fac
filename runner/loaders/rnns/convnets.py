"""The residual networks of torchvision, with random weights, plain and traced."""

from __future__ import annotations

from runner.loaders._building import Parts
from runner.loaders._norms import settle_batch_norm
from runner.loaders._packages import torchvision
from runner.loaders.rnns.parts import Order, WeightedSum
from runner.loaders.rnns.scripting import trace

_CLASSES = 1000
_IMAGE = (3, 224, 224)


def resnet(order: Order, name: str, traced: bool = False) -> Parts:
    """Images [B, 3, 224, 224] to logits [B, 1000]. Raises Unsupported without torchvision."""
    model = settle_batch_norm(getattr(torchvision().models, name)(weights=None), *_IMAGE)
    model = model.to(order.device).train(order.training)
    images = order.draw.normal(order.batch_size, *_IMAGE)
    loss = WeightedSum(order.draw.normal(order.batch_size, _CLASSES))
    return Parts(trace(model, (images,)) if traced else model, (images,), loss=loss)
