"""Language models of transformers, built from a configuration made here: nothing is looked up on a hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.loaders._building import Order, Parts
from runner.loaders._losses import own_loss
from runner.loaders._packages import mend_torchvision, require

_TRAINING_LENGTH = 512


def language_model(
    order: Order,
    model: str,
    inference_length: int = 512,
    cpu_inference_length: int | None = None,
    sizes: Mapping[str, Any] | None = None,
) -> Parts:
    """`transformers.<model>` on random token ids [B, length].

    In training random labels [B, 512] go in beside them and the loss is the model's own. `sizes` are the fields of the
    configuration that differ from its defaults. `cpu_inference_length` replaces `inference_length` on a CPU.
    """
    require("transformers", "4.40")
    mend_torchvision()  # transformers imports it where it finds it
    import transformers

    kind = getattr(transformers, model)
    config = kind.config_class(**(sizes or {}))
    config.use_cache = False
    length = inference_length
    if order.training:
        length = _TRAINING_LENGTH
    elif cpu_inference_length is not None and order.device.split(":")[0] == "cpu":
        length = cpu_inference_length
    inputs = {"input_ids": order.draw.integers(0, config.vocab_size, order.batch_size, length)}
    if order.training:
        inputs["labels"] = order.draw.integers(0, config.vocab_size, order.batch_size, length)
    return Parts(kind(config), kwargs=inputs, loss=own_loss)
