"""An LSTM over sequences of different lengths: from the library with packing, and sequence by sequence.

Input: a list of sequences [T_i, I], with `h` and `c` [1, B, H]. Output: padded with zeros to [max T, B, H].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn


class Packed(nn.LSTM):
    """torch.nn.LSTM on a packed sequence; packing and unpacking are part of it."""

    def forward(self, sequences: list[Tensor], state: tuple[Tensor, Tensor]) -> Any:  # type: ignore[override]
        """Padded outputs, last state of each sequence."""
        output, state = super().forward(rnn.pack_sequence(sequences, enforce_sorted=False), state)
        return rnn.pad_packed_sequence(output)[0], state


def one_by_one(cell: Callable[..., Any]) -> Callable[..., Any]:
    """A loop over the sequences, and within each over its steps with a batch of one."""

    def loop(sequences: list[Tensor], h: Tensor, c: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        outputs: list[Tensor] = []
        hs: list[Tensor] = []
        cs: list[Tensor] = []
        for place, sequence in enumerate(sequences):
            state = (h[0, place : place + 1], c[0, place : place + 1])
            found: list[Tensor] = []
            for step in sequence.unbind(0):
                state = cell(step.unsqueeze(0), state, weights[0], weights[1], weights[2], weights[3])
                found.append(state[0])
            outputs.append(torch.cat(found))
            hs.append(state[0])
            cs.append(state[1])
        padded = rnn.pad_sequence(outputs)
        return padded, torch.cat(hs).unsqueeze(0), torch.cat(cs).unsqueeze(0)

    return loop
