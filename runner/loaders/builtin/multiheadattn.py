"""multiheadattn: an attention container of three input projections and one output projection, none with a bias.

Keys and values get one learned-elsewhere row more, which the mask never hides.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from runner.loaders._building import Order, Parts

_WIDTH, _HEADS = 10, 5
_TARGETS, _SOURCES = 6, 10  # lengths of query and key


class Container(nn.Module):
    """Projects, splits into heads, attends, joins and projects again."""

    def __init__(self) -> None:
        """Four matrices of 10 x 10."""
        super().__init__()
        self.query, self.key, self.value, self.join = (nn.Linear(_WIDTH, _WIDTH, bias=False) for _ in range(4))

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attended [T, B, 10] and weights [5 B, T, S + 1].

        `query` [T, B, 10], `key` and `value` [S, B, 10]; `mask` [5 B, T, S] is true where not to look; `rows`
        [2, 1, 5 B, 2] are the further key and value of every head.
        """
        q, k, v = _heads(self.query(query)), _heads(self.key(key)), _heads(self.value(value))
        k, v = torch.cat((k, rows[0])), torch.cat((v, rows[1]))
        scores = q.transpose(0, 1) @ k.permute(1, 2, 0) * q.shape[-1] ** -0.5
        weights = scores.masked_fill(functional.pad(mask, (0, 1)), -1e8).softmax(dim=-1)
        attended = (weights @ v.transpose(0, 1)).transpose(0, 1).reshape(query.shape)
        return self.join(attended), weights


def _heads(x: torch.Tensor) -> torch.Tensor:
    """[T, B, 10] to [T, 5 B, 2]."""
    return x.reshape(len(x), -1, _WIDTH // _HEADS)


def total(output: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Sum of everything that came out."""
    attended, weights = output
    return attended.sum() + weights.sum()


def build(order: Order) -> Parts:
    """Normal query, key (which is the value too) and further rows; each place of the mask is a fair coin."""
    draw, batch = order.draw, order.batch_size
    query, key = draw.normal(_TARGETS, batch, _WIDTH), draw.normal(_SOURCES, batch, _WIDTH)
    mask = draw.integers(0, 2, batch * _HEADS, _TARGETS, _SOURCES).bool()
    rows = draw.normal(2, 1, batch * _HEADS, _WIDTH // _HEADS)
    return Parts(Container(), (query, key, key, mask, rows), loss=total)
