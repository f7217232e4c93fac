"""nanogpt: a decoder of GPT-2's smallest size (124 M parameters) that gives the logits of the next token only."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from runner.loaders._building import Order, Parts
from runner.loaders._losses import CrossEntropy

_PROMPT = 64  # tokens
_VOCABULARY = 50304  # GPT-2's 50257, rounded up to a multiple of 64
_CONTEXT = 1024
_WIDTH, _HEADS, _LAYERS = 768, 12, 12


class TanhGelu(nn.Module):
    """GELU's tanh approximation from single operations, as this model has it, so that fusing them is the compiler's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Elementwise."""
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))
        return 0.5 * x * (1 + torch.tanh(inner))


class Attention(nn.Module):
    """Causal self-attention in `_HEADS` heads."""

    def __init__(self) -> None:
        """One projection in, one out."""
        super().__init__()
        self.project = nn.Linear(_WIDTH, 3 * _WIDTH)
        self.join = nn.Linear(_WIDTH, _WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, width] to the same."""
        projected = self.project(x).split(_WIDTH, dim=-1)
        query, key, value = (t.unflatten(-1, (_HEADS, -1)).transpose(1, 2) for t in projected)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        joined: torch.Tensor = self.join(mixed.transpose(1, 2).flatten(2))
        return joined


class Block(nn.Module):
    """Attention, then a feed-forward network four times as wide, each after a layer norm and beside a shortcut."""

    def __init__(self) -> None:
        """All blocks have one size."""
        super().__init__()
        self.norm1 = nn.LayerNorm(_WIDTH)
        self.attention = Attention()
        self.norm2 = nn.LayerNorm(_WIDTH)
        self.expand = nn.Linear(_WIDTH, 4 * _WIDTH)
        self.gelu = TanhGelu()
        self.contract = nn.Linear(4 * _WIDTH, _WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, width] to the same."""
        x = x + self.attention(self.norm1(x))
        output: torch.Tensor = x + self.contract(self.gelu(self.expand(self.norm2(x))))
        return output


class NanoGpt(nn.Module):
    """The decoder; its output layer and its token embedding are one matrix."""

    def __init__(self) -> None:
        """Weights with deviation 0.02, less where they feed a shortcut, so that depth does not add up."""
        super().__init__()
        self.tokens = nn.Embedding(_VOCABULARY, _WIDTH)
        self.positions = nn.Embedding(_CONTEXT, _WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(_LAYERS))
        self.norm = nn.LayerNorm(_WIDTH)
        self.head = nn.Linear(_WIDTH, _VOCABULARY, bias=False)
        self.head.weight = self.tokens.weight
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                feeds_shortcut = name.endswith(("join.weight", "contract.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * _LAYERS) if feeds_shortcut else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids [B, T] to the last position's logits [B, 1, 50304]."""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        logits: torch.Tensor = self.head(self.norm(x)[:, [-1]])
        return logits


def build(order: Order) -> Parts:
    """Token ids [B, 64]; in training the cross-entropy of the next token with a random one."""
    ids = order.draw.integers(1, _VOCABULARY, order.batch_size, _PROMPT)
    following = order.draw.integers(0, _VOCABULARY, order.batch_size, 1)
    return Parts(NanoGpt(), (ids,), loss=CrossEntropy(following))
