"""Any model of transformers, by its class or by a name that the suite describes; nothing is looked up on a hub."""

from __future__ import annotations

from typing import Any

from runner.errors import Unsupported
from runner.loaders._building import Order, Parts
from runner.loaders._losses import own_loss, projection
from runner.loaders._packages import mend_torchvision, require
from runner.loaders.names import listed_version
from runner.loaders.transformer_configs import generation, small
from runner.loaders.transformer_configs.catalogue import described, length_of
from runner.loaders.transformer_configs.inputs import inputs_of


def build(order: Order, name: str, step: str, length: int | None, scale: str) -> Parts:
    """Model `name` for one of the steps `forward` (with labels, whatever the mode), `prefill` and `decode`.

    A model without labels of its own has a projection of its outputs as loss. `length` in tokens replaces the name's.
    """
    net = make(name, scale, decoding=step != "forward")
    length = length or (min(length_of(name), small.LENGTH) if scale == "small" else length_of(name))
    if step == "prefill":
        return generation.prefill(order, net, length)
    if step == "decode":
        return generation.decode(order, net, length)
    inputs = inputs_of(order, net, length)
    labelled = any(key in inputs for key in ("labels", "start_positions"))
    return Parts(net, kwargs=inputs, loss=own_loss if labelled else projection)


def make(name: str, scale: str, *, decoding: bool = False) -> Any:
    """The model with random weights, in full or small; for `decoding` one that keeps keys and values."""
    require("transformers", "5.0")
    mend_torchvision()  # transformers imports it where it finds it
    import transformers

    model = described(name)
    kind = getattr(transformers, model.kind, None)
    if kind is None:
        found, listed = transformers.__version__, listed_version("transformers")
        raise Unsupported(f"transformers {found} has no {model.kind}: pip install transformers=={listed}")
    config = kind.config_class(**model.sizes)
    if scale == "small":
        config = kind.config_class(**{**model.sizes, **small.shrunk(config.to_dict())})
    if model.kind.endswith("SequenceClassification") and getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = 0  # the last token that is no padding is what is classified
    config.use_cache = decoding
    if decoding and getattr(config, "is_decoder", True) is False and not config.is_encoder_decoder:
        config.is_decoder = True  # BERT and its kin see both ways unless told otherwise
    return kind(config)
