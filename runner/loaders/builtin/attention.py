"""Transformer layers of Vaswani et al. 2017 in operations that can be differentiated twice and forwards.

The fused attention kernels of torch have a first derivative only, which is why nothing here calls them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Size:
    """Sizes of one layer."""

    width: int
    heads: int
    feed_forward: int
    dropout: float


class Attention(nn.Module):
    """Multi-head attention with the projections of queries, keys and values in one matrix."""

    def __init__(self, size: Size) -> None:
        """Four square matrices of `size.width`, with biases."""
        super().__init__()
        self.heads = size.heads
        self.project_in = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * size.width, size.width)))
        self.bias_in = nn.Parameter(torch.zeros(3 * size.width))
        self.join = nn.Linear(size.width, size.width)
        self.dropout = nn.Dropout(size.dropout)

    def forward(self, query: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Queries [B, T, width] look at `memory` [B, S, width]; `mask` [T, S] is added to the scores."""
        places = (query, memory, memory)
        parts = zip(places, self.project_in.chunk(3), self.bias_in.chunk(3), strict=True)
        projected = (nn.functional.linear(x, weight, bias) for x, weight, bias in parts)
        q, k, v = (x.reshape(*x.shape[:-1], self.heads, -1).transpose(1, 2) for x in projected)
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        weights = self.dropout((scores if mask is None else scores + mask).softmax(dim=-1))
        joined: torch.Tensor = self.join((weights @ v).transpose(1, 2).flatten(2))
        return joined


class Residue(nn.Module):
    """What a sublayer adds, dropped out, and the norm of the sum."""

    def __init__(self, size: Size) -> None:
        """A norm over `size.width`."""
        super().__init__()
        self.norm = nn.LayerNorm(size.width)
        self.dropout = nn.Dropout(size.dropout)

    def forward(self, x: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
        """Both [B, T, width]."""
        total: torch.Tensor = self.norm(x + self.dropout(added))
        return total


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network."""

    def __init__(self, size: Size) -> None:
        """Twelve parameter tensors."""
        super().__init__()
        self.attention, self.after_attention = Attention(size), Residue(size)
        self.feed_forward, self.after_feed_forward = feed_forward(size), Residue(size)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """[B, T, width] to the same."""
        x = self.after_attention(x, self.attention(x, x, mask))
        out: torch.Tensor = self.after_feed_forward(x, self.feed_forward(x))
        return out


class DecoderLayer(nn.Module):
    """Self-attention, attention to an encoder's output and a feed-forward network."""

    def __init__(self, size: Size) -> None:
        """Eighteen parameter tensors."""
        super().__init__()
        self.attention, self.after_attention = Attention(size), Residue(size)
        self.cross, self.after_cross = Attention(size), Residue(size)
        self.feed_forward, self.after_feed_forward = feed_forward(size), Residue(size)

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """[B, T, width] with `memory` [B, S, width] to [B, T, width]."""
        x = self.after_attention(x, self.attention(x, x))
        x = self.after_cross(x, self.cross(x, memory))
        out: torch.Tensor = self.after_feed_forward(x, self.feed_forward(x))
        return out


def feed_forward(size: Size) -> nn.Sequential:
    """Two linear layers around a ReLU."""
    first, second = nn.Linear(size.width, size.feed_forward), nn.Linear(size.feed_forward, size.width)
    return nn.Sequential(first, nn.ReLU(), nn.Dropout(size.dropout), second)


def causal_mask(length: int) -> torch.Tensor:
    """[length, length] to add to scores: minus infinity where a place would look at a later one."""
    return torch.full((length, length), -torch.inf).triu(diagonal=1)
