"""llama: a decoder of the kind of Touvron et al. 2023 with 60 million parameters and a cache of keys and values."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from runner.loaders._building import Order, Parts

_VOCABULARY, _WIDTH, _HEADS, _LAYERS = 32_000, 512, 8, 8
_FEED_FORWARD = 1536  # two thirds of four times the width, rounded up to a multiple of 256
_PROMPT, _START = 32, 1  # tokens, and the place of the first of them in the cache
_CONTEXT, _SEQUENCES = 64, 64  # places in the cache, and sequences unless more are asked for
_HEAD = _WIDTH // _HEADS


class Norm(nn.Module):
    """Divides by the root mean square, in float32."""

    def __init__(self) -> None:
        """Scale one."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(_WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Over the last dimension."""
        wide = x.float()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)).type_as(x) * self.weight


class Attention(nn.Module):
    """Attention to everything in the cache, into which the new keys and values are written first.

    Nothing is masked, as in TorchBench's copy: a prompt's tokens see each other.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, sequences: int) -> None:
        """A cache for so many sequences, empty at first."""
        super().__init__()
        self.query, self.key, self.value, self.join = (nn.Linear(_WIDTH, _WIDTH, bias=False) for _ in range(4))
        for name in ("keys", "values"):
            cache = torch.zeros(sequences, _CONTEXT, _HEADS, _HEAD)
            self.register_buffer(name, cache, persistent=False)

    def forward(self, x: torch.Tensor, start: int, turns: torch.Tensor) -> torch.Tensor:
        """[B, T, width] to the same; `turns` [T, head / 2] are complex numbers of length one."""
        projected = (self.query(x), self.key(x), self.value(x))
        query, key, value = (t.unflatten(-1, (_HEADS, _HEAD)) for t in projected)
        end = start + x.shape[1]
        with torch.no_grad():
            self.keys[: len(x), start:end] = turned(key, turns)
            self.values[: len(x), start:end] = value
        keys, values = (cache[: len(x), :end].transpose(1, 2) for cache in (self.keys, self.values))
        scores = turned(query, turns).transpose(1, 2) @ keys.transpose(2, 3) * _HEAD**-0.5
        weights = scores.float().softmax(dim=-1).type_as(x)
        joined: torch.Tensor = self.join((weights @ values).transpose(1, 2).flatten(2))
        return joined


class Block(nn.Module):
    """Attention and a gated feed-forward network, each after a norm and beside a shortcut."""

    def __init__(self, sequences: int) -> None:
        """All blocks have one size."""
        super().__init__()
        self.attention, self.norm1, self.norm2 = Attention(sequences), Norm(), Norm()
        self.gate = nn.Linear(_WIDTH, _FEED_FORWARD, bias=False)
        self.expand = nn.Linear(_WIDTH, _FEED_FORWARD, bias=False)
        self.contract = nn.Linear(_FEED_FORWARD, _WIDTH, bias=False)

    def forward(self, x: torch.Tensor, start: int, turns: torch.Tensor) -> torch.Tensor:
        """[B, T, width] to the same."""
        x = x + self.attention(self.norm1(x), start, turns)
        y = self.norm2(x)
        output: torch.Tensor = x + self.contract(functional.silu(self.gate(y)) * self.expand(y))
        return output


class Llama(nn.Module):
    """The decoder."""

    def __init__(self, sequences: int) -> None:
        """For at most so many sequences."""
        super().__init__()
        self.tokens = nn.Embedding(_VOCABULARY, _WIDTH)
        self.blocks = nn.ModuleList(Block(sequences) for _ in range(_LAYERS))
        self.norm = Norm()
        self.head = nn.Linear(_WIDTH, _VOCABULARY, bias=False)

    def forward(self, ids: torch.Tensor, start: int) -> torch.Tensor:
        """Ids [B, T], the first of which stands at place `start`, to the last one's logits [B, 32000] in float32."""
        turns = rotations(start, ids.shape[1], ids.device)
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x, start, turns)
        logits: torch.Tensor = self.head(self.norm(x)[:, -1])
        return logits.float()


def rotations(start: int, length: int, device: torch.device) -> torch.Tensor:
    """Complex numbers [length, head / 2] whose angle grows with the place, slower from left to right."""
    rates = 10_000.0 ** (-torch.arange(0, _HEAD, 2, device=device) / _HEAD)
    angles = torch.outer(torch.arange(start, start + length, device=device).float(), rates)
    return torch.polar(torch.ones_like(angles), angles)


def turned(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """[B, T, heads, head], whose neighbouring numbers are taken as complex ones, times `turns`."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns[:, None]).flatten(3).type_as(x)


def build(order: Order) -> Parts:
    """Ids [B, 32] (int32, all of them 1) behind a first place that stays empty."""
    ids = torch.ones(order.batch_size, _PROMPT, dtype=torch.int32, device=order.device)
    return Parts(Llama(max(order.batch_size, _SEQUENCES)), (ids, _START))
