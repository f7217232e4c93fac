"""wav2letter: letters from raw sound by a stack of one-dimensional convolutions (Collobert et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from runner.loaders._building import Order, Parts

_LETTERS = 28
_SAMPLES = 700  # length of the sound
_FRAMES = 3  # what is left of it


def stack(narrow: int, wide: int) -> Iterator[nn.Module]:
    """Twelve convolutions, each followed by a ReLU, the last one too."""
    yield from (nn.Conv1d(1, narrow, 250, stride=160, padding=45), nn.ReLU())
    yield from (nn.Conv1d(narrow, narrow, 48, stride=2, padding=23), nn.ReLU())
    for _ in range(7):
        yield from (nn.Conv1d(narrow, narrow, 7, padding=3), nn.ReLU())
    yield from (nn.Conv1d(narrow, wide, 32, padding=16), nn.ReLU())
    yield from (nn.Conv1d(wide, wide, 1), nn.ReLU())
    yield from (nn.Conv1d(wide, _LETTERS, 1), nn.ReLU())


@dataclass(frozen=True, eq=False)
class LetterLoss:
    """Negative log-likelihood of `letters` [B, T]."""

    letters: torch.Tensor

    def __call__(self, log_probabilities: torch.Tensor) -> torch.Tensor:
        """Mean over all places of [B, 28, T]."""
        return functional.nll_loss(log_probabilities, self.letters)


def build(order: Order, narrow: int = 250, wide: int = 2000) -> Parts:
    """Sound [B, 1, 700] to log-probabilities [B, 28, 3]."""
    model = nn.Sequential(*stack(narrow, wide), nn.LogSoftmax(dim=1))
    for module in model:
        if isinstance(module, nn.Conv1d):  # torch's own choice lets gradients fade to 1e-8 on their way down
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
    sound = order.draw.normal(order.batch_size, 1, _SAMPLES)
    letters = order.draw.integers(0, _LETTERS, order.batch_size, _FRAMES)
    return Parts(model, (sound,), loss=LetterLoss(letters))
