"""Loops of a single LSTM layer over time, which differ in what is done once and what at every step.

All take `x` [T, B, I], `h` and `c` [1, B, H], and the four weights of torch.nn.LSTM in its order; they return the
hidden states of all steps [T, B, H] and the last states [1, B, H].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from runner.loaders.rnns import cells


def plain(cell: Callable[..., Any]) -> Callable[..., Any]:
    """Everything at every step; `cell` is `lstm_cell`, as it is or compiled."""

    def loop(x: Tensor, h: Tensor, c: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        w_ih, w_hh, b_ih, b_hh = weights[0], weights[1], weights[2], weights[3]
        state = (h[0], c[0])
        outputs: list[Tensor] = []
        for step in x.unbind(0):
            state = cell(step, state, w_ih, w_hh, b_ih, b_hh)
            outputs.append(state[0])
        return torch.stack(outputs), state[0].unsqueeze(0), state[1].unsqueeze(0)

    return loop


def simple(x: Tensor, h: Tensor, c: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The same with the state in two variables instead of a tuple."""
    w_ih, w_hh, b_ih, b_hh = weights[0], weights[1], weights[2], weights[3]
    h, c = h[0], c[0]
    outputs: list[Tensor] = []
    for step in x.unbind(0):
        h, c = cells.flat_lstm_cell(step, h, c, w_ih, w_hh, b_ih, b_hh)
        outputs.append(h)
    return torch.stack(outputs), h.unsqueeze(0), c.unsqueeze(0)


def premul(x: Tensor, h: Tensor, c: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The product of input and weights is taken once, for the whole sequence."""
    w_ih, w_hh, b_ih, b_hh = weights[0], weights[1], weights[2], weights[3]
    state = (h[0], c[0])
    outputs: list[Tensor] = []
    for step in torch.matmul(x, w_ih.t()).unbind(0):
        state = cells.premul_lstm_cell(step, state, w_hh, b_ih, b_hh)
        outputs.append(state[0])
    return torch.stack(outputs), state[0].unsqueeze(0), state[1].unsqueeze(0)


def premul_bias(x: Tensor, h: Tensor, c: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The same, and the input's bias is added once too."""
    w_ih, w_hh, b_ih, b_hh = weights[0], weights[1], weights[2], weights[3]
    state = (h[0], c[0])
    outputs: list[Tensor] = []
    for step in (torch.matmul(x, w_ih.t()) + b_ih).unbind(0):
        state = cells.premul_bias_lstm_cell(step, state, w_hh, b_hh)
        outputs.append(state[0])
    return torch.stack(outputs), state[0].unsqueeze(0), state[1].unsqueeze(0)
