"""dcgan: the discriminator of a deep convolutional GAN (Radford et al. 2015), the half that TorchBench measures."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import nn

from runner.loaders._building import Order, Parts
from runner.loaders._norms import settle_batch_norm

_IMAGE = (3, 64, 64)
#: The labels of real and of other images are this far from 1 and 0 (smoothed, as by Salimans et al. 2016): where the
#: probability is near 0.9 there still is a gradient in bf16, near 1 there is none.
_SMOOTHING = 0.1
#: The loss is divided by this: the last convolution adds up 8192 features, and a step of SGD at its usual rate would
#: otherwise move a probability from one end to the other.
_DAMPING = 100
#: Largest probability below 1 in bf16, where the logarithm of what is left is still finite.
_CERTAIN = 1 - 2**-8


@dataclass(frozen=True, eq=False)
class Judgement:
    """Binary cross-entropy of the probabilities [B, 1, 1, 1] that images are `real`, int64 [B]: 0 or 1.

    Written out because torch refuses `binary_cross_entropy` under autocast.
    """

    real: torch.Tensor

    def __call__(self, probability: torch.Tensor) -> torch.Tensor:
        """Mean over all images, damped."""
        found = probability.flatten().clamp(1 - _CERTAIN, _CERTAIN)
        wanted = self.real.to(found.dtype) * (1 - 2 * _SMOOTHING) + _SMOOTHING
        return -(wanted * found.log() + (1 - wanted) * (1 - found).log()).mean() / _DAMPING


def build(order: Order) -> Parts:
    """Images [B, 3, 64, 64] to the probability that each is real, [B, 1, 1, 1]; by chance, half of them are."""
    model = settle_batch_norm(discriminator().apply(_initialise), *_IMAGE)
    images, real = order.draw.normal(order.batch_size, *_IMAGE), order.draw.integers(0, 2, order.batch_size)
    return Parts(model, (images,), loss=Judgement(real))


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
