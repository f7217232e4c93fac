"""tts_angular: Mozilla TTS's speaker encoder, three LSTMs with projection that turn sound into a direction."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from runner.loaders._building import Order, Parts
from runner.loaders._losses import SquaredError

_FRAMES, _MELS = 50, 40
_HIDDEN, _PROJECTED, _LAYERS = 768, 256, 3


class Projected(nn.Module):
    """An LSTM and a matrix that narrows its output."""

    def __init__(self, before: int) -> None:
        """From `before` features to `_PROJECTED`."""
        super().__init__()
        self.lstm = nn.LSTM(before, _HIDDEN, batch_first=True)
        self.project = nn.Linear(_HIDDEN, _PROJECTED, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, before] to [B, T, 256]."""
        output: torch.Tensor = self.project(self.lstm(x)[0])
        return output


class SpeakerEncoder(nn.Module):
    """The last frame's output, of length one."""

    def __init__(self) -> None:
        """Xavier's weights, no biases at first."""
        super().__init__()
        self.layers = nn.Sequential(*(Projected(_PROJECTED if i else _MELS) for i in range(_LAYERS)))
        for name, parameter in self.named_parameters():
            (nn.init.zeros_ if "bias" in name else nn.init.xavier_normal_)(parameter)

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        """Spectrograms [B, T, 40] to directions [B, 256]."""
        return functional.normalize(self.layers(sound)[:, -1], dim=1)


def build(order: Order) -> Parts:
    """Spectrograms [B, 50, 40]; squared distance from random directions."""
    sound = order.draw.uniform(0, 1, order.batch_size, _FRAMES, _MELS)
    wanted = functional.normalize(order.draw.normal(order.batch_size, _PROJECTED), dim=1)
    return Parts(SpeakerEncoder(), (sound,), loss=SquaredError(wanted))
