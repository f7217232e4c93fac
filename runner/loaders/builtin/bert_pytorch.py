"""BERT_pytorch: BERT-base as a plain module, with attention and layer norm made of single operations.

TorchBench measures such an implementation beside the one of transformers (hf_Bert): much of its time is in pointwise
operations and reductions that a compiler can fuse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from runner.loaders._building import Order, Parts

_VOCABULARY = 20_005  # 20 000 words and five special tokens, of which 0 is padding
_LENGTH = 128  # tokens in a pair of sentences
_CONTEXT = 512
_WIDTH, _HEADS, _LAYERS, _DROPOUT = 768, 12, 12, 0.1
_MASKED = 0.15  # share of the tokens that are to be predicted
_IGNORED = -100  # label of the others


class Norm(nn.Module):
    """Layer norm that divides by the unbiased deviation plus a small number."""

    def __init__(self) -> None:
        """Scale one, shift zero."""
        super().__init__()
        self.scale = nn.Parameter(torch.ones(_WIDTH))
        self.shift = nn.Parameter(torch.zeros(_WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Over the last dimension."""
        centred = x - x.mean(-1, keepdim=True)
        return self.scale * centred / (x.std(-1, keepdim=True) + 1e-6) + self.shift


class Attention(nn.Module):
    """Self-attention with its matrix products, mask, softmax and dropout written out."""

    def __init__(self) -> None:
        """Four square projections."""
        super().__init__()
        self.query, self.key, self.value, self.join = (nn.Linear(_WIDTH, _WIDTH) for _ in range(4))
        self.dropout = nn.Dropout(_DROPOUT)

    def forward(self, x: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """[B, T, width] to the same; `visible` [B, 1, T, T] says which tokens each may look at."""
        projected = (self.query(x), self.key(x), self.value(x))
        query, key, value = (t.unflatten(-1, (_HEADS, -1)).transpose(1, 2) for t in projected)
        scores = query @ key.transpose(-2, -1) / math.sqrt(_WIDTH // _HEADS)
        scores = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
        weights = self.dropout(scores.softmax(dim=-1))
        joined: torch.Tensor = self.join((weights @ value).transpose(1, 2).flatten(2))
        return joined


class Block(nn.Module):
    """Attention and a feed-forward network, each normalised before, dropped out after, beside a shortcut."""

    def __init__(self) -> None:
        """All blocks have one size."""
        super().__init__()
        self.norm1, self.norm2 = Norm(), Norm()
        self.attention = Attention()
        self.feed_forward = nn.Sequential(
            nn.Linear(_WIDTH, 4 * _WIDTH), nn.GELU(), nn.Dropout(_DROPOUT), nn.Linear(4 * _WIDTH, _WIDTH)
        )
        self.dropout = nn.Dropout(_DROPOUT)

    def forward(self, x: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """[B, T, width] to the same."""
        x = x + self.dropout(self.attention(self.norm1(x), visible))
        x = x + self.dropout(self.feed_forward(self.norm2(x)))
        output: torch.Tensor = self.dropout(x)
        return output


class Bert(nn.Module):
    """The encoder with BERT's two heads: is the second sentence the first one's successor; which token was masked."""

    positions: torch.Tensor

    def __init__(self) -> None:
        """BERT-base's sizes with a vocabulary of 20 005."""
        super().__init__()
        self.tokens = nn.Embedding(_VOCABULARY, _WIDTH, padding_idx=0)
        self.segments = nn.Embedding(3, _WIDTH, padding_idx=0)
        self.register_buffer("positions", _waves(_CONTEXT, _WIDTH))
        self.dropout = nn.Dropout(_DROPOUT)
        self.blocks = nn.ModuleList(Block() for _ in range(_LAYERS))
        self.successor = nn.Linear(_WIDTH, 2)
        self.masked = nn.Linear(_WIDTH, _VOCABULARY)

    def forward(self, ids: torch.Tensor, segments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and segments [B, T] to log-probabilities [B, 2] and [B, T, 20005]."""
        length = ids.shape[1]
        visible = (ids > 0)[:, None, None, :].expand(-1, 1, length, -1)
        x = self.dropout(self.tokens(ids) + self.positions[:length] + self.segments(segments))
        for block in self.blocks:
            x = block(x, visible)
        return self.successor(x[:, 0]).log_softmax(dim=-1), self.masked(x).log_softmax(dim=-1)


@dataclass(frozen=True, eq=False)
class PretrainingLoss:
    """Negative log-likelihood of both heads; `successor` [B], `masked` [B, T] with -100 where nothing is asked."""

    successor: torch.Tensor
    masked: torch.Tensor

    def __call__(self, output: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Sum of the heads' means."""
        successor, masked = output
        masked_loss = functional.nll_loss(masked.flatten(0, 1), self.masked.flatten(), ignore_index=_IGNORED)
        return functional.nll_loss(successor, self.successor) + masked_loss


def _waves(length: int, width: int) -> torch.Tensor:
    """Sines in the even columns and cosines in the odd ones, of wavelengths 2 pi to 20 000 pi: [length, width]."""
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    angle = torch.arange(length)[:, None] * frequency
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)


def build(order: Order) -> Parts:
    """Two inputs [B, 128]: token ids, and segments (1 for the first sentence's half, 2 for the second's)."""
    shape = (order.batch_size, _LENGTH)
    ids = order.draw.integers(1, _VOCABULARY, *shape)
    segments = torch.full(shape, 1, device=order.device)
    segments[:, _LENGTH // 2 :] = 2
    asked = order.draw.uniform(0, 1, *shape) < _MASKED
    labels = order.draw.integers(1, _VOCABULARY, *shape).where(asked, _IGNORED)
    loss = PretrainingLoss(order.draw.integers(0, 2, order.batch_size), labels)
    return Parts(Bert(), (ids, segments), loss=loss)
