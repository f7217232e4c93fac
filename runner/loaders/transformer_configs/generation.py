"""The two parts of generating text, each as a model of its own: a prompt's pass, and one more token."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from runner.errors import Unsupported
from runner.loaders._building import Order, Parts
from runner.loaders.transformer_configs.inputs import takes, text_config, tokens

#: What whisper is told before the first word: begin, language, task, no time stamps.
_START = 4


class Prefill(nn.Module):
    """A prompt's pass: logits [B, vocabulary] of the next token, keys and values of all layers."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._options = {"logits_to_keep": 1} if takes(model, "logits_to_keep") else {}

    def forward(self, **inputs: torch.Tensor) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        """`inputs` are the model's."""
        output = self.model(**inputs, use_cache=True, **self._options)
        return output.logits[:, -1], [(layer.keys, layer.values) for layer in _own(output.past_key_values).layers]


class Decode(nn.Module):
    """One more token after `past` of them: logits [B, vocabulary] of the next.

    Keys and values of the past are random, and buffers: they move, are cast and are put back with the model. Every
    call starts from the same position, so that it can be repeated; only a sliding window that is full moves on.
    A smaller batch has the past of the first sequences.
    """

    _position: torch.Tensor
    _keys_0: torch.Tensor

    def __init__(self, model: Any, cache: Any, past: int) -> None:
        super().__init__()
        self.model = model
        self._cache = cache
        self._past = past
        self.varies = False  # once batches of other sizes come, no graph may depend on one being the full one
        self.register_buffer("_position", torch.tensor(past))
        for place, layer in enumerate(_all_layers(cache)):
            self.register_buffer(f"_keys_{place}", layer.keys)
            self.register_buffer(f"_values_{place}", layer.values)

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """`inputs` are the model's, with one token."""
        batch = next(iter(inputs.values())).shape[0]
        for place, layer in enumerate(_all_layers(self._cache)):
            layer.keys, layer.values = self._of(batch, f"_keys_{place}"), self._of(batch, f"_values_{place}")
            layer.device = layer.keys.device
        for layer in _own(self._cache).layers:
            layer.cumulative_length = self._position.clone()
            if layer.is_sliding:
                layer.cumulative_length_int = self._past
        output = self.model(**inputs, past_key_values=self._cache, use_cache=True)
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def take_batch_of(self, other: Decode) -> None:
        """Be ready for the batch of `other` too: with its past, where that is of more sequences."""
        self.varies = True
        if len(other._keys_0) > len(self._keys_0):
            self._buffers.update(other.named_buffers(recurse=False))

    def _of(self, batch: int, name: str) -> torch.Tensor:
        past: torch.Tensor = getattr(self, name)
        return past[:batch] if self.varies or batch != past.shape[0] else past


def prefill(order: Order, net: Any, length: int) -> Parts:
    """A prompt of `length` random tokens; of speech, 30 s of it and the 4 tokens that begin every transcript."""
    _refuse(net)
    if net.config.is_encoder_decoder:
        start = tokens(order, net, order.batch_size, _START)
        return Parts(Prefill(net), kwargs={"input_features": _features(order, net), "decoder_input_ids": start})
    return Parts(Prefill(net), kwargs={"input_ids": tokens(order, net, order.batch_size, length)})


def decode(order: Order, net: Any, length: int) -> Parts:
    """One token after `length` of them, with a static cache of keys and values."""
    from transformers.cache_utils import EncoderDecoderCache

    _refuse(net)
    token = tokens(order, net, order.batch_size, 1)
    own = _filled(order, net, length + 1)
    if not net.config.is_encoder_decoder:
        return Parts(Decode(net, own, length), kwargs={"input_ids": token})
    heard = net.config.max_source_positions
    cache = EncoderDecoderCache(own, _filled(order, net, heard))
    cache.is_updated = dict.fromkeys(range(len(own.layers)), True)  # keys and values of what was heard are there
    states = order.draw.normal(order.batch_size, heard, net.config.d_model)
    return Parts(Decode(net, cache, length), kwargs={"decoder_input_ids": token, "encoder_outputs": (states,)})


def _filled(order: Order, net: Any, length: int) -> Any:
    """A static cache for `length` tokens with random keys and values."""
    from transformers.cache_utils import StaticCache

    config = text_config(net)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache: Any = StaticCache(config=net.config, max_cache_len=length)
    cache.early_initialization(order.batch_size, heads, width, torch.float32, torch.device("cpu"))
    for layer in cache.layers:
        layer.keys, layer.values = (order.draw.normal(*t.shape) for t in (layer.keys, layer.values))
    return cache


def _features(order: Order, net: Any) -> torch.Tensor:
    return order.draw.normal(order.batch_size, net.config.num_mel_bins, 2 * net.config.max_source_positions)


def _refuse(net: Any) -> None:
    """Say so of a model that generates no text token by token, or does it in a way of its own."""
    name = type(net).__name__
    speech = net.config.is_encoder_decoder and net.main_input_name == "input_features"
    if not net.can_generate() or not takes(net, "past_key_values") or (net.config.is_encoder_decoder and not speech):
        raise Unsupported(f"{name} is no decoder of text or speech to prefill or decode with: use suite.step=forward")


def _own(cache: Any) -> Any:
    """The cache of the decoder's own tokens."""
    return getattr(cache, "self_attention_cache", cache)


def _all_layers(cache: Any) -> list[Any]:
    cross = getattr(cache, "cross_attention_cache", None)
    return [*_own(cache).layers, *(cross.layers if cross else ())]
