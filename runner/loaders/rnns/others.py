"""Written-out loops of the recurrent networks that are no plain LSTM: GRU, Elman networks, multiplicative integration.

Single layers: `x` [T, B, I], states [1, B, H], `weights` in torch.nn's order; for mLSTM see `mlstm_parameters`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from runner.loaders.rnns import cells


def one_state(cell: Callable[..., Any]) -> Callable[..., Any]:
    """A loop over `cell` whose state is the hidden state alone."""

    def loop(x: Tensor, h: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
        h = h[0]
        outputs: list[Tensor] = []
        for step in x.unbind(0):
            h = cell(step, h, weights[0], weights[1], weights[2], weights[3])
            outputs.append(h)
        return torch.stack(outputs), h.unsqueeze(0)

    return loop


def mlstm(x: Tensor, h: Tensor, c: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """LSTM with multiplicative integration; `weights` are w_ih, w_hh, the bias and the mixing weights."""
    state = (h[0], c[0])
    outputs: list[Tensor] = []
    for step in x.unbind(0):
        state = cells.mlstm_cell(step, state, weights[0], weights[1], weights[2], weights[3])
        outputs.append(state[0])
    return torch.stack(outputs), state[0].unsqueeze(0), state[1].unsqueeze(0)


def mlstm_parameters(lstm: nn.LSTM) -> dict[str, nn.Parameter]:
    """The LSTM's weights, the sum of its biases, and mixing weights that stress the product a little."""
    own = dict(lstm.named_parameters())
    bias = nn.Parameter((own["bias_ih_l0"] + own["bias_hh_l0"]).detach())
    mix = nn.Parameter(torch.tensor([[0.5], [1.0], [1.0]]).repeat(1, 4 * lstm.hidden_size))
    return {"weight_ih_l0": own["weight_ih_l0"], "weight_hh_l0": own["weight_hh_l0"], "bias": bias, "mix": mix}
