"""pytorch_unet: the U-Net of Ronneberger et al. 2015 with bilinear upsampling, on half-size Carvana pictures."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from runner.loaders._building import Order, Parts
from runner.loaders._norms import settle_batch_norm

_IMAGE = (3, 640, 959)
_SETTLING_IMAGE = (3, 80, 120)  # enough for statistics, and 64 times less work
_WIDTHS = (64, 128, 256, 512, 512)
_CLASSES = 2


class Up(nn.Module):
    """Doubles the size of what comes from below, fits it to what comes from beside, and convolves both."""

    def __init__(self, below: int, beside: int, after: int) -> None:
        """Channels of the two inputs and of the output."""
        super().__init__()
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.convolve = convolutions(below + beside, (below + beside) // 2, after)

    def forward(self, below: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
        """[B, below, H / 2, W / 2] and [B, beside, H, W] to [B, after, H, W]."""
        x = self.enlarge(below)
        rows, columns = (wanted - got for wanted, got in zip(beside.shape[2:], x.shape[2:], strict=True))
        x = functional.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        output: torch.Tensor = self.convolve(torch.cat((beside, x), dim=1))
        return output


class UNet(nn.Module):
    """Four steps down, each with a shortcut to its step up."""

    def __init__(self) -> None:
        """From an image to the scores of two classes."""
        super().__init__()
        self.first = convolutions(_IMAGE[0], _WIDTHS[0], _WIDTHS[0])
        self.down = nn.ModuleList(convolutions(before, after, after) for before, after in itertools.pairwise(_WIDTHS))
        widths = zip((512, 256, 128, 64), (512, 256, 128, 64), (256, 128, 64, 64), strict=True)
        self.up = nn.ModuleList(Up(*step) for step in widths)
        self.last = nn.Conv2d(_WIDTHS[0], _CLASSES, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images [B, 3, H, W] to scores [B, 2, H, W]."""
        levels = [self.first(images)]
        for down in self.down:
            levels.append(down(functional.max_pool2d(levels[-1], 2)))
        x = levels.pop()
        for up in self.up:
            x = up(x, levels.pop())
        scores: torch.Tensor = self.last(x)
        return scores


def convolutions(before: int, between: int, after: int) -> nn.Sequential:
    """Two 3x3 convolutions with batch norm and ReLU."""
    return nn.Sequential(
        *(nn.Conv2d(before, between, 3, padding=1), nn.BatchNorm2d(between), nn.ReLU(inplace=True)),
        *(nn.Conv2d(between, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)),
    )


@dataclass(frozen=True, eq=False)
class MaskLoss:
    """Cross-entropy and dice loss of a `mask` [B, H, W] of classes."""

    mask: torch.Tensor

    def __call__(self, scores: torch.Tensor) -> torch.Tensor:
        """Sum of both, over all images together, from scores [B, classes, H, W]."""
        wanted = functional.one_hot(self.mask, _CLASSES).movedim(-1, 1).to(scores.dtype)
        given = scores.softmax(dim=1)
        overlap = 2 * (given * wanted).sum() / (given.sum() + wanted.sum())
        return functional.cross_entropy(scores, self.mask) + 1 - overlap


def build(order: Order) -> Parts:
    """Images [B, 3, 640, 959] to scores [B, 2, 640, 959], with random masks."""
    images = order.draw.uniform(0, 1, order.batch_size, *_IMAGE)
    mask = order.draw.integers(0, _CLASSES, order.batch_size, *_IMAGE[1:])
    return Parts(settle_batch_norm(UNet(), *_SETTLING_IMAGE), (images,), loss=MaskLoss(mask))
