"""pytorch_CycleGAN_and_pix2pix: the generator of Zhu et al. 2017, nine residual blocks between two scales."""

from __future__ import annotations

import torch
from torch import nn

from runner.loaders._building import Order, Parts
from runner.loaders._losses import SquaredError

_IMAGE = (3, 256, 256)
_WIDTHS = (64, 128, 256)
_BLOCKS = 9


class Residual(nn.Module):
    """Two convolutions of mirrored images, each with instance norm, added to the input."""

    def __init__(self, channels: int) -> None:
        """Keeps `channels`."""
        super().__init__()
        first, second = _reflected(channels, channels, 3), _reflected(channels, channels, 3)
        self.branch = nn.Sequential(*first, nn.ReLU(True), *second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, channels, H, W] to the same."""
        changed: torch.Tensor = x + self.branch(x)
        return changed


def generator() -> nn.Sequential:
    """Twice halved, changed, twice doubled."""
    first, middle, last = _WIDTHS
    return nn.Sequential(
        *(*_reflected(_IMAGE[0], first, 7), nn.ReLU(True)),
        *_resized(nn.Conv2d(first, middle, 3, stride=2, padding=1), middle),
        *_resized(nn.Conv2d(middle, last, 3, stride=2, padding=1), last),
        *(Residual(last) for _ in range(_BLOCKS)),
        *_resized(nn.ConvTranspose2d(last, middle, 3, stride=2, padding=1, output_padding=1), middle),
        *_resized(nn.ConvTranspose2d(middle, first, 3, stride=2, padding=1, output_padding=1), first),
        *(nn.ReflectionPad2d(3), nn.Conv2d(first, _IMAGE[0], 7), nn.Tanh()),
    )


def _reflected(before: int, after: int, kernel: int) -> tuple[nn.Module, ...]:
    return nn.ReflectionPad2d(kernel // 2), nn.Conv2d(before, after, kernel), nn.InstanceNorm2d(after)


def _resized(convolution: nn.Module, after: int) -> tuple[nn.Module, ...]:
    return convolution, nn.InstanceNorm2d(after), nn.ReLU(True)


def _initialise(module: nn.Module) -> None:
    """The paper's initial weights: all with deviation 0.02."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, std=0.02)


def build(order: Order) -> Parts:
    """Images [B, 3, 256, 256] to images; squared error against random ones."""
    shape = (order.batch_size, *_IMAGE)
    loss = SquaredError(order.draw.uniform(-1, 1, *shape))
    return Parts(generator().apply(_initialise), (order.draw.uniform(-1, 1, *shape),), loss=loss)
