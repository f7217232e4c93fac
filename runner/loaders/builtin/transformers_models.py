"""Models of transformers, built from a configuration made here: nothing is looked up on a hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from runner.loaders._building import Order, Parts
from runner.loaders._losses import own_loss
from runner.loaders._packages import mend_torchvision, require

if TYPE_CHECKING:
    from types import ModuleType

_NEW_TOKENS = 256  # that are generated
_MELS, _FRAMES = 80, 3000  # half a minute of sound
_IMAGE = (3, 224, 224)
_CAPTION = 6  # tokens


def language_model(  # noqa: PLR0913, PLR0917 - the options of a catalogue entry
    order: Order,
    model: str,
    inference_length: int = 512,
    cpu_inference_length: int | None = None,
    sizes: Mapping[str, Any] | None = None,
    training_length: int = 512,
    with_decoder: bool = False,
) -> Parts:
    """`transformers.<model>` on random token ids [B, length].

    In training random labels of the same shape go in beside them and the loss is the model's own. `sizes` are the
    fields of the configuration that differ from its defaults. `cpu_inference_length` replaces `inference_length` on a
    CPU. A decoder is given the same tokens as its encoder in inference, and shifted labels in training.
    """
    net = _make(model, sizes)
    length = training_length if order.training else _length(order, inference_length, cpu_inference_length)
    inputs = {"input_ids": _tokens(order, net, length)}
    if order.training:
        inputs["labels"] = _tokens(order, net, length)
    elif with_decoder:
        inputs["decoder_input_ids"] = inputs["input_ids"]
    return Parts(net, kwargs=inputs, loss=own_loss)


def text_encoder(order: Order, model: str, length: int, sizes: Mapping[str, Any] | None = None) -> Parts:
    """`transformers.<model>` on token ids [B, length], from which no language is to be modelled."""
    net = _make(model, sizes)
    return Parts(net, (_tokens(order, net, length),))


class Generator(nn.Module):
    """Greedy generation of a fixed number of tokens, whatever they are."""

    def __init__(self, model: Any) -> None:
        """`model` is one of transformers' that can generate."""
        super().__init__()
        self.model = model
        self.settings = _transformers().GenerationConfig(
            max_new_tokens=_NEW_TOKENS,
            pad_token_id=0,
            eos_token_id=None,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            decoder_start_token_id=0,
        )

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Ids [B, T] to those of the start and the generated ones, [B, 257] of a model with a decoder."""
        generated: torch.Tensor = self.model.generate(ids, generation_config=self.settings)
        return generated


def generator(
    order: Order,
    model: str,
    inference_length: int,
    cpu_inference_length: int | None = None,
    sizes: Mapping[str, Any] | None = None,
) -> Parts:
    """`transformers.<model>` that answers random token ids [B, length] with 256 new tokens."""
    net = _make(model, sizes)
    length = _length(order, inference_length, cpu_inference_length)
    return Parts(Generator(net), (_tokens(order, net, length),))


def audio_classifier(order: Order, model: str, sizes: Mapping[str, Any] | None = None) -> Parts:
    """`transformers.<model>` on log-mel spectrograms [B, 80, 3000]; logits [B, 2], in training with random labels."""
    net = _make(model, sizes)
    inputs = {"input_features": order.draw.normal(order.batch_size, _MELS, _FRAMES)}
    if order.training:
        inputs["labels"] = order.draw.integers(0, net.config.num_labels, order.batch_size)
    return Parts(net, kwargs=inputs, loss=own_loss)


def clip(order: Order) -> Parts:
    """CLIP (ViT-B/32) on images [B, 3, 224, 224] and captions [B, 6], each image being described by its own caption."""
    net = _make("CLIPModel", None)
    text = net.config.text_config
    ids = order.draw.integers(0, text.bos_token_id, order.batch_size, _CAPTION)
    ids[:, 0], ids[:, -1] = text.bos_token_id, text.eos_token_id
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": order.draw.normal(order.batch_size, *_IMAGE),
    }
    return Parts(net, kwargs=inputs, loss=contrastive)


def contrastive(output: Any) -> torch.Tensor:
    """Mean cross-entropy of choosing each image's caption and each caption's image."""
    scores: torch.Tensor = output.logits_per_image
    own = torch.arange(len(scores), device=scores.device)
    return (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2


def _make(model: str, sizes: Mapping[str, Any] | None) -> Any:
    """The model with random weights and without a cache of keys and values."""
    kind = getattr(_transformers(), model)
    config = kind.config_class(**(sizes or {}))
    config.use_cache = False
    return kind(config)


def _transformers() -> ModuleType:
    require("transformers", "4.40")
    mend_torchvision()  # transformers imports it where it finds it
    import transformers

    module: ModuleType = transformers
    return module


def _length(order: Order, anywhere: int, on_cpu: int | None) -> int:
    return on_cpu if on_cpu is not None and order.device.split(":")[0] == "cpu" else anywhere


def _tokens(order: Order, net: Any, length: int) -> torch.Tensor:
    return order.draw.integers(0, net.config.vocab_size, order.batch_size, length)
