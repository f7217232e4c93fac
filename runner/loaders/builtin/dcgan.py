"""dcgan: the discriminator of a deep convolutional GAN (Radford et al. 2015), the half that TorchBench measures."""

from __future__ import annotations

import itertools

from torch import nn

from runner.loaders._building import Order, Parts
from runner.loaders._losses import judged_real
from runner.loaders._norms import settle_batch_norm

_IMAGE = (3, 64, 64)


def build(order: Order) -> Parts:
    """Images [B, 3, 64, 64] to the probability that each is real, [B, 1, 1, 1]; the loss is that of real images."""
    model = settle_batch_norm(discriminator().apply(_initialise), *_IMAGE)
    return Parts(model, (order.draw.normal(order.batch_size, *_IMAGE),), loss=judged_real)


def discriminator(widths: tuple[int, ...] = (64, 128, 256, 512)) -> nn.Sequential:
    """Four strided convolutions from 64 pixels to 4, then one that sees all that is left."""
    layers: list[nn.Module] = [_halve(3, widths[0]), nn.LeakyReLU(0.2, inplace=True)]
    for before, after in itertools.pairwise(widths):
        layers += [_halve(before, after), nn.BatchNorm2d(after), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, bias=False), nn.Sigmoid())


def _halve(before: int, after: int) -> nn.Module:
    return nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1, bias=False)


def _initialise(module: nn.Module) -> None:
    """The paper's initial weights: all with deviation 0.02, batch norm around one."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, mean=1.0, std=0.02)
