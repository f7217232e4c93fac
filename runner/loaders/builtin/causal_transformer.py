"""transformer: a language model of two encoder layers with a causal mask (Vaswani et al. 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from runner.loaders._building import Order, Parts
from runner.loaders.builtin.attention import EncoderLayer, Size, causal_mask

_TOKENS = 50
_LAYERS = 2
_DROPOUT = 0.5


class LanguageModel(nn.Module):
    """Embedding with waves for the position, causal encoder layers, log-probabilities of the next token."""

    waves: torch.Tensor
    mask: torch.Tensor

    def __init__(self, size: Size, places: int, across: bool) -> None:
        """Sequences of `places` tokens. With `across`, a token attends along the batch instead of its sequence."""
        super().__init__()
        self.across = across
        self.tokens = nn.Embedding(_TOKENS, size.width)
        self.dropout = nn.Dropout(size.dropout)
        self.layers = nn.ModuleList(EncoderLayer(size) for _ in range(_LAYERS))
        self.head = nn.Linear(size.width, _TOKENS)
        self.register_buffer("waves", _waves(places, size.width))
        self.register_buffer("mask", causal_mask(places))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [B, T] to log-probabilities [B, T, 50]."""
        x = self.tokens(tokens) * math.sqrt(self.tokens.embedding_dim)
        x = x.transpose(0, 1) if self.across else x
        x = self.dropout(x + self.waves)
        for layer in self.layers:
            x = layer(x, self.mask)
        scores = self.head(x.transpose(0, 1) if self.across else x)
        return functional.log_softmax(scores, dim=-1)


@dataclass(frozen=True, eq=False)
class NextToken:
    """Negative log-likelihood of the tokens that came next, [B, T]."""

    tokens: torch.Tensor

    def __call__(self, log_probabilities: torch.Tensor) -> torch.Tensor:
        """Mean over all places."""
        return functional.nll_loss(log_probabilities.flatten(0, 1), self.tokens.flatten())


def _waves(length: int, width: int) -> torch.Tensor:
    """Sines in the even columns, cosines in the odd ones, slower from left to right: [length, width]."""
    rates = 10_000.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)


def build(  # noqa: PLR0913, PLR0917 - the options of a catalogue entry
    order: Order, width: int = 720, heads: int = 12, feed_forward: int = 2048, length: int = 128, across: bool = False
) -> Parts:
    """Sequences of `length` tokens and one more, whose tokens but the first are the labels."""
    places = order.batch_size if across else length
    text = order.draw.integers(0, _TOKENS, order.batch_size, length + 1)
    model = LanguageModel(Size(width, heads, feed_forward, _DROPOUT), places, across)
    return Parts(model, (text[:, :-1],), loss=NextToken(text[:, 1:]))
