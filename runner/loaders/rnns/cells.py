"""One time step of each kind of recurrent network, as functions that Python, TorchScript and torch.compile can all run.

Shapes: `x` [B, I], states [B, H], `w_ih` [G*H, I], `w_hh` [G*H, H], biases [G*H], with G gates in the order of
torch.nn (LSTM: input, forget, cell, output; GRU: reset, update, new).
"""

# ruff: noqa: PLR0913, PLR0917 - bundling the weights would be one more thing that a compiler has to see through

from __future__ import annotations

import torch
from torch import Tensor


def lstm_update(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """New hidden and cell state from the four gates before their activations, [B, 4*H]."""
    i, f, g, o = gates.chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def lstm_cell(
    x: Tensor, state: tuple[Tensor, Tensor], w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """LSTM, the state in a tuple."""
    h, c = state
    return lstm_update(torch.mm(x, w_ih.t()) + b_ih + torch.mm(h, w_hh.t()) + b_hh, c)


def flat_lstm_cell(
    x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """LSTM, the state in two variables."""
    return lstm_update(torch.mm(x, w_ih.t()) + b_ih + torch.mm(h, w_hh.t()) + b_hh, c)


def premul_lstm_cell(
    projected: Tensor, state: tuple[Tensor, Tensor], w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """LSTM whose input is multiplied with `w_ih` already: `projected` is [B, 4*H]."""
    h, c = state
    return lstm_update(projected + torch.mm(h, w_hh.t()) + b_ih + b_hh, c)


def premul_bias_lstm_cell(
    projected: Tensor, state: tuple[Tensor, Tensor], w_hh: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """LSTM whose input is multiplied with `w_ih` and has `b_ih` added already."""
    h, c = state
    return lstm_update(projected + torch.mm(h, w_hh.t()) + b_hh, c)


def gru_cell(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """GRU as in torch.nn: the reset gate acts after the product with `w_hh`."""
    r_x, z_x, n_x = (torch.mm(x, w_ih.t()) + b_ih).chunk(3, 1)
    r_h, z_h, n_h = (torch.mm(h, w_hh.t()) + b_hh).chunk(3, 1)
    r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
    n = torch.tanh(n_x + r * n_h)
    return n + z * (h - n)


def rnn_tanh_cell(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """Elman network with tanh."""
    return torch.tanh(torch.mm(x, w_ih.t()) + b_ih + torch.mm(h, w_hh.t()) + b_hh)


def rnn_relu_cell(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """Elman network with relu."""
    return torch.relu(torch.mm(x, w_ih.t()) + b_ih + torch.mm(h, w_hh.t()) + b_hh)


def mlstm_cell(
    x: Tensor, state: tuple[Tensor, Tensor], w_ih: Tensor, w_hh: Tensor, bias: Tensor, mix: Tensor
) -> tuple[Tensor, Tensor]:
    """LSTM with multiplicative integration (Wu et al. 2016, arXiv 1606.06630).

    `mix` [3, 4*H] weighs the product of input and hidden projections, the input's, and the hidden's.
    """
    h, c = state
    from_x, from_h = torch.mm(x, w_ih.t()), torch.mm(h, w_hh.t())
    return lstm_update(mix[0] * from_x * from_h + mix[1] * from_x + mix[2] * from_h + bias, c)
