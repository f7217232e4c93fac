"""fcn_resnet: the fully convolutional network of Long et al. 2015 on ResNet-50, without an auxiliary head.

The last two stages are dilated instead of strided, so that the features have an eighth of the image's size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from runner.loaders._building import Order, Parts
from runner.loaders._losses import SquaredError
from runner.loaders.builtin.residual import WIDTHS, Bottleneck, conv3, norm, trunk

_CLASSES = 21


class Segmenter(nn.Module):
    """A trunk, a head that classifies each place of its feature map, and the result at the image's size."""

    def __init__(self, widths: Sequence[int]) -> None:
        """`widths` are those of the trunk's stages."""
        super().__init__()
        features = Bottleneck.expansion * widths[-1]
        self.trunk = trunk(Bottleneck, (3, 4, 6, 3), widths, dilated_from=2)
        self.head = nn.Sequential(
            *(conv3(features, features // 4), norm(features // 4), nn.ReLU(), nn.Dropout(0.1)),
            nn.Conv2d(features // 4, _CLASSES, 1),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images [B, 3, H, W] to scores [B, 21, H, W]."""
        scores = self.head(self.trunk(images))
        return functional.interpolate(scores, size=images.shape[-2:], mode="bilinear", align_corners=False)


def build(order: Order, image: int = 480, widths: Sequence[int] = WIDTHS) -> Parts:
    """Images [B, 3, image, image] to scores [B, 21, image, image]; squared error against uniform targets."""
    images = order.draw.uniform(0, 1, order.batch_size, 3, image, image)
    targets = order.draw.uniform(0, 1, order.batch_size, _CLASSES, image, image)
    return Parts(Segmenter(widths), (images,), loss=SquaredError(targets))
