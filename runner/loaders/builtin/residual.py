"""Residual networks of He et al. 2015 up to their last feature map, without running statistics.

Batch norm takes the statistics of its batch in training and in evaluation, so that a forward pass writes nothing:
functions that are to be differentiated any number of times must not change their buffers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import nn

WIDTHS = (64, 128, 256, 512)
norm = partial(nn.BatchNorm2d, track_running_stats=False)


class Basic(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, before: int, width: int, stride: int, dilation: int) -> None:
        """From `before` channels to `width`; `stride` is the first convolution's."""
        super().__init__()
        self.branch = nn.Sequential(
            conv3(before, width, stride, dilation), norm(width), nn.ReLU(), conv3(width, width), norm(width)
        )
        self.shortcut = shortcut(before, width, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, before, H, W] to [B, width, H / stride, W / stride]."""
        return torch.relu(self.branch(x) + self.shortcut(x))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones, the last of which widens four times, beside a shortcut."""

    expansion = 4

    def __init__(self, before: int, width: int, stride: int, dilation: int) -> None:
        """From `before` channels to 4 `width`; `stride` and `dilation` are the middle convolution's."""
        super().__init__()
        after = self.expansion * width
        self.branch = nn.Sequential(
            *(nn.Conv2d(before, width, 1, bias=False), norm(width), nn.ReLU()),
            *(conv3(width, width, stride, dilation), norm(width), nn.ReLU()),
            *(nn.Conv2d(width, after, 1, bias=False), norm(after)),
        )
        self.shortcut = shortcut(before, after, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, before, H, W] to [B, 4 width, H / stride, W / stride]."""
        return torch.relu(self.branch(x) + self.shortcut(x))


def trunk(
    block: type[Basic | Bottleneck], depths: Sequence[int], widths: Sequence[int] = WIDTHS, dilated_from: int = 4
) -> nn.Sequential:
    """Images [B, 3, H, W] to features [B, widths[-1] * expansion, H / 32, W / 32].

    From stage `dilated_from` on (counted from 0), dilation stands in for the stride.
    """
    stem = [nn.Conv2d(3, widths[0], 7, stride=2, padding=3, bias=False), norm(widths[0]), nn.ReLU()]
    blocks = _blocks(block, depths, widths, dilated_from)
    net = nn.Sequential(*stem, nn.MaxPool2d(3, stride=2, padding=1), *blocks)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


def _blocks(
    block: type[Basic | Bottleneck], depths: Sequence[int], widths: Sequence[int], dilated_from: int
) -> Iterator[nn.Module]:
    before, dilation = widths[0], 1
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        stride, first = (1 if stage == 0 else 2), dilation
        if stage >= dilated_from:
            stride, dilation = 1, 2 * dilation
        for i in range(depth):
            yield block(before, width, stride if i == 0 else 1, first if i == 0 else dilation)
            before = width * block.expansion


def conv3(before: int, after: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size but for its stride."""
    return nn.Conv2d(before, after, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)


def shortcut(before: int, after: int, stride: int) -> nn.Module:
    """The identity where it fits, else a 1x1 convolution."""
    if before == after and stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), norm(after))
