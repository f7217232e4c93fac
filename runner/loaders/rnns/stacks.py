"""LSTMs of several layers, in one direction or both, with or without dropout between the layers.

All take `x` [T, B, I], `h` and `c` [L*D, B, H] (D directions), and torch.nn.LSTM's weights in its order: four per
layer and direction. They return the last layer's hidden states [T, B, D*H] and the last states [L*D, B, H].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from runner.loaders.rnns import cells


def one_layer(
    steps: list[Tensor], state: tuple[Tensor, Tensor], weights: list[Tensor]
) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
    """One layer over the steps, each [B, I], in their order."""
    outputs: list[Tensor] = []
    for step in steps:
        state = cells.lstm_cell(step, state, weights[0], weights[1], weights[2], weights[3])
        outputs.append(state[0])
    return outputs, state


def multilayer(x: Tensor, h: Tensor, c: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Layer after layer, the steps kept apart between them."""
    steps = list(x.unbind(0))
    hs: list[Tensor] = []
    cs: list[Tensor] = []
    for layer in range(h.size(0)):
        steps, state = one_layer(steps, (h[layer], c[layer]), weights[4 * layer : 4 * layer + 4])
        hs.append(state[0])
        cs.append(state[1])
    return torch.stack(steps), torch.stack(hs), torch.stack(cs)


def stacked(
    x: Tensor, state: tuple[Tensor, Tensor], weights: list[Tensor], rate: float, training: bool
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Layer after layer, one tensor between them, with dropout on it before every layer but the first."""
    h, c = state
    hs: list[Tensor] = []
    cs: list[Tensor] = []
    for layer in range(h.size(0)):
        if layer > 0:
            x = functional.dropout(x, rate, training)
        steps, last = one_layer(list(x.unbind(0)), (h[layer], c[layer]), weights[4 * layer : 4 * layer + 4])
        x = torch.stack(steps)
        hs.append(last[0])
        cs.append(last[1])
    return x, (torch.stack(hs), torch.stack(cs))


def bidirectional(x: Tensor, h: Tensor, c: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Each layer runs over the sequence from both ends and passes on both results, side by side."""
    hs: list[Tensor] = []
    cs: list[Tensor] = []
    for layer in range(h.size(0) // 2):
        directions: list[Tensor] = []
        for reverse in range(2):
            place = 2 * layer + reverse
            steps = list(x.unbind(0)) if reverse == 0 else list(x.flip(0).unbind(0))
            found, last = one_layer(steps, (h[place], c[place]), weights[4 * place : 4 * place + 4])
            directions.append(torch.stack(found if reverse == 0 else found[::-1]))
            hs.append(last[0])
            cs.append(last[1])
        x = torch.cat(directions, 2)
    return x, torch.stack(hs), torch.stack(cs)
