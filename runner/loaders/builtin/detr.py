"""detr: objects in images by a transformer over a residual network's features (Carion et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from runner.loaders._building import Draw, Order, Parts
from runner.loaders.builtin.attention import DecoderLayer, EncoderLayer, Size
from runner.loaders.builtin.detr_loss import Objects, SetLoss
from runner.loaders.builtin.residual import WIDTHS, Bottleneck, trunk

_CLASSES = 91
_LAYERS = 6
_PLACES = 50  # most rows or columns that a feature map may have
_FEWEST, _MOST = 5, 9  # objects in an image
_LABELS = (5, 10)
_CORNERS = (100, 800)  # pixels


class Transformer(nn.Module):
    """An encoder and a decoder, each with a norm at its end."""

    def __init__(self, size: Size) -> None:
        """Six layers each."""
        super().__init__()
        self.encoder = nn.Sequential(*(EncoderLayer(size) for _ in range(_LAYERS)), nn.LayerNorm(size.width))
        self.decoder = nn.ModuleList(DecoderLayer(size) for _ in range(_LAYERS))
        self.norm = nn.LayerNorm(size.width)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """`source` [B, S, width] and `target` [B, T, width] to [B, T, width]."""
        memory = self.encoder(source)
        for layer in self.decoder:
            target = layer(target, memory)
        out: torch.Tensor = self.norm(target)
        return out


class Detr(nn.Module):
    """Every query becomes one object: a class, or none, and a box."""

    def __init__(self, widths: Sequence[int], size: Size, queries: int) -> None:
        """`widths` are those of the residual network's stages, `size` that of the transformer's layers."""
        super().__init__()
        self.trunk = trunk(Bottleneck, (3, 4, 6, 3), widths)
        self.narrow = nn.Conv2d(Bottleneck.expansion * widths[-1], size.width, 1)
        self.transformer = Transformer(size)
        self.queries = nn.Parameter(torch.rand(queries, size.width))
        self.rows = nn.Parameter(torch.rand(_PLACES, size.width // 2))
        self.columns = nn.Parameter(torch.rand(_PLACES, size.width // 2))
        self.classes, self.boxes = nn.Linear(size.width, _CLASSES + 1), nn.Linear(size.width, 4)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images [B, 3, H, W] to logits [B, Q, 92] and boxes [B, Q, 4]: centre, width and height in (0, 1)."""
        features = self.narrow(self.trunk(images))
        source = self._positions(*features.shape[-2:]) + 0.1 * features.flatten(2).transpose(1, 2)
        found = self.transformer(source, self.queries.expand(len(images), -1, -1))
        return self.classes(found), self.boxes(found).sigmoid()

    def _positions(self, height: int, width: int) -> torch.Tensor:
        columns = self.columns[:width].expand(height, -1, -1)
        rows = self.rows[:height, None].expand(-1, width, -1)
        return torch.cat((columns, rows), dim=-1).flatten(0, 1)


def build(  # noqa: PLR0913, PLR0917 - the options of a catalogue entry
    order: Order,
    image: tuple[int, int] = (800, 1200),
    widths: Sequence[int] = WIDTHS,
    width: int = 256,
    feed_forward: int = 2048,
    queries: int = 100,
) -> Parts:
    """Images [B, 3, *image] with 5 to 9 objects each."""
    size = Size(width, heads=8, feed_forward=feed_forward, dropout=0.1)
    images = order.draw.uniform(0, 1, order.batch_size, 3, *image)
    objects = [_objects(order.draw, i) for i in range(order.batch_size)]
    return Parts(Detr(widths, size, queries), (images,), loss=SetLoss(objects, _CLASSES))


def _objects(draw: Draw, index: int) -> Objects:
    """Labels and boxes of one image; the counts go round, which spares reading them back from a device."""
    count = _FEWEST + index % (_MOST - _FEWEST + 1)
    labels = draw.integers(*_LABELS, count)
    corners = draw.integers(*_CORNERS, count, 2, 2).sort(dim=1).values  # upper left, lower right
    return Objects(labels, corners.flatten(1).float())
