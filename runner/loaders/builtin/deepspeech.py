"""deepspeech: DeepSpeech 2 (Amodei et al. 2015), convolutions and bidirectional LSTMs over spectrograms with CTC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from runner.loaders._building import Order, Parts

_FREQUENCIES = 161
_LETTERS = 10  # the first one is CTC's blank
_TARGETS = 10
_RECURRENT = 5
_SHORTEST, _LONGEST = 0.8, 0.9  # length of a sound, as a share of the padded one
#: Kernel, stride and padding of the two convolutions, frequency first.
_CONVOLUTIONS = (((41, 11), (2, 2), (20, 5)), ((21, 11), (2, 1), (10, 5)))


class MaskedConvolutions(nn.Module):
    """Two convolutions with batch norm and clipping; what is beyond a sound's end is zero after every step."""

    def __init__(self, channels: int) -> None:
        """Both give `channels`."""
        super().__init__()
        steps: list[nn.Module] = []
        for before, (kernel, stride, padding) in zip((1, channels), _CONVOLUTIONS, strict=True):
            steps += [nn.Conv2d(before, channels, kernel, stride, padding), norm2(channels), nn.Hardtanh(0, 20)]
        self.steps = nn.Sequential(*steps)

    def forward(self, spectrogram: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """[B, 1, F, T] to [B, channels, F / 4, T / 2]; `lengths` [B] count the result's frames."""
        x = spectrogram
        for step in self.steps:
            x = step(x)
            beyond = torch.arange(x.shape[-1], device=x.device) >= lengths[:, None]
            x = x.masked_fill(beyond[:, None, None, :], 0)
        return x


class Recurrent(nn.Module):
    """Batch norm, except before the first, and an LSTM in each direction, whose outputs are added.

    Instead of packing, which torch.func can't differentiate, the backward direction reads every sound turned round by
    itself: neither direction meets the padding before it has read the sound.
    """

    def __init__(self, before: int, hidden: int, normed: bool) -> None:
        """From `before` features to `hidden`."""
        super().__init__()
        self.norm = norm1(before) if normed else nn.Identity()
        self.ahead, self.back = nn.LSTM(before, hidden), nn.LSTM(before, hidden)

    def forward(self, x: torch.Tensor, turned: torch.Tensor) -> torch.Tensor:
        """[T, B, before] to [T, B, hidden]; `turned` [T, B] says which frame stands where when sounds are turned."""
        x = each_frame(self.norm, x)
        with without_onednn():
            ahead, _ = self.ahead(x)
            back, _ = self.back(reordered(x, turned))
        total: torch.Tensor = ahead + reordered(back, turned)
        return total


class DeepSpeech(nn.Module):
    """Convolutions, recurrent layers, and a linear classifier of frames."""

    def __init__(self, channels: int, hidden: int) -> None:
        """LSTMs of `hidden` units."""
        super().__init__()
        before = [channels * (_FREQUENCIES // 4 + 1), *[hidden] * (_RECURRENT - 1)]
        self.convolutions = MaskedConvolutions(channels)
        self.recurrent = nn.ModuleList(Recurrent(size, hidden, normed=i > 0) for i, size in enumerate(before))
        self.head = nn.Sequential(norm1(hidden), nn.Linear(hidden, _LETTERS, bias=False))

    def forward(self, spectrogram: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """[B, 1, 161, T] to log-probabilities [T / 2, B, 10]; `lengths` [B] count the result's frames."""
        x = self.convolutions(spectrogram, lengths).flatten(1, 2).permute(2, 0, 1)
        places = torch.arange(len(x), device=x.device)[:, None]
        turned = torch.where(places < lengths, lengths - 1 - places, places)
        for layer in self.recurrent:
            x = layer(x, turned)
        return functional.log_softmax(each_frame(self.head, x), dim=-1)


@dataclass(frozen=True, eq=False)
class Ctc:
    """Connectionist temporal classification of `letters` [B, 10] in frames of `lengths` [B]."""

    letters: torch.Tensor
    lengths: torch.Tensor

    def __call__(self, log_probabilities: torch.Tensor) -> torch.Tensor:
        """Mean over the sounds of [T, B, 10], each divided by its number of letters."""
        wanted = torch.full_like(self.lengths, _TARGETS)
        return functional.ctc_loss(log_probabilities, self.letters, self.lengths, wanted)


@contextmanager
def without_onednn() -> Iterator[None]:
    """Inside, LSTMs on a CPU are computed by torch itself: oneDNN's fails under torch.func."""
    mkldnn: Any = torch.backends.mkldnn  # its own context manager sets TF32 too, which warns
    before = mkldnn.enabled
    mkldnn.enabled = False
    try:
        yield
    finally:
        mkldnn.enabled = before


def norm1(features: int) -> nn.Module:
    """Batch norm of vectors, without running statistics."""
    return nn.BatchNorm1d(features, track_running_stats=False)


def norm2(features: int) -> nn.Module:
    """Batch norm of maps, without running statistics."""
    return nn.BatchNorm2d(features, track_running_stats=False)


def reordered(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """[T, B, features] with the frame `order` [T, B] at each place."""
    return x.gather(0, order[..., None].expand_as(x))


def each_frame(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """`layer`, which takes vectors, for all frames of [T, B, features] at once."""
    out: torch.Tensor = layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return out


def build(order: Order, channels: int = 32, hidden: int = 1024, frames: int = 500) -> Parts:
    """Spectrograms [B, 1, 161, frames] whose sounds end at 80 to 90 %; letters that are never the blank."""
    batch = order.batch_size
    spectrogram = order.draw.normal(batch, 1, _FREQUENCIES, frames)
    ends = order.draw.uniform(_SHORTEST, _LONGEST, batch) * frames
    lengths = (ends / 2).ceil().long()  # the first convolution halves the time
    letters = order.draw.integers(1, _LETTERS, batch, _TARGETS)
    return Parts(DeepSpeech(channels, hidden), (spectrogram, lengths), loss=Ctc(letters, lengths))
