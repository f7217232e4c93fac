"""The models of suite `demo`, each chosen for what a compiler can do to it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from runner.loaders._building import Order, Parts
from runner.loaders._losses import CrossEntropy
from runner.loaders._norms import settle_batch_norm

_CLASSES = 10
_IMAGE = (3, 32, 32)
_VOCABULARY = 1000


class Mlp(nn.Module):
    """Matrix products with a chain of pointwise operations between them, which fusion turns into one pass each."""

    def __init__(self, features: int = 256, layers: int = 4) -> None:
        """`layers` hidden layers of `features` units."""
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(features, features) for _ in range(layers))
        self.head = nn.Linear(features, _CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features [B, 256] to logits [B, 10]."""
        for layer in self.layers:
            hidden = layer(x)
            x = x + torch.tanh(hidden) * torch.sigmoid(hidden)
        logits: torch.Tensor = self.head(x)
        return logits


class ConvNet(nn.Module):
    """Convolutions with batch norm, whose running statistics are buffers that training changes in place."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128)) -> None:
        """One stage per width, each halving the image."""
        super().__init__()
        pairs = zip((3, *widths), widths, strict=False)
        self.stages = nn.Sequential(*(_stage(before, after) for before, after in pairs))
        self.head = nn.Linear(widths[-1], _CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images [B, 3, 32, 32] to logits [B, 10]."""
        logits: torch.Tensor = self.head(self.stages(images).mean(dim=(2, 3)))
        return logits


class Transformer(nn.Module):
    """Attention, layer norm and embeddings, with integer inputs."""

    def __init__(self, width: int = 128, heads: int = 4, layers: int = 2, length: int = 64) -> None:
        """`layers` blocks over sequences of up to `length` tokens."""
        super().__init__()
        self.tokens = nn.Embedding(_VOCABULARY, width)
        self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, _VOCABULARY)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids [B, T] to logits [B, T, 1000]."""
        x = self.tokens(ids) + self.positions[: ids.shape[1]]
        logits: torch.Tensor = self.head(self.norm(self.blocks(x)))
        return logits


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)  # a bias on the keys has no gradient
        self.join = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.join(self.attend(self.before_attention(x)))
        output: torch.Tensor = x + self.feed_forward(x)
        return output

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        projected = self.queries_keys_values(x).chunk(3, dim=-1)
        query, key, value = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in projected)
        return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def _stage(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


def mlp(order: Order) -> Parts:
    """Input [B, 256], output [B, 10], cross-entropy with random labels."""
    features = order.draw.normal(order.batch_size, 256)
    return Parts(Mlp(), (features,), loss=CrossEntropy(order.draw.integers(0, _CLASSES, order.batch_size)))


def convnet(order: Order) -> Parts:
    """Input [B, 3, 32, 32], output [B, 10], cross-entropy with random labels."""
    model = settle_batch_norm(ConvNet(), *_IMAGE)
    images = order.draw.normal(order.batch_size, *_IMAGE)
    return Parts(model, (images,), loss=CrossEntropy(order.draw.integers(0, _CLASSES, order.batch_size)))


def transformer(order: Order) -> Parts:
    """Input [B, 64] ids, output [B, 64, 1000], cross-entropy with random labels."""
    ids = order.draw.integers(0, _VOCABULARY, order.batch_size, 64)
    labels = order.draw.integers(0, _VOCABULARY, order.batch_size, 64)
    return Parts(Transformer(), (ids,), loss=CrossEntropy(labels))
