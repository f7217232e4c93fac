"""LSTMs with layer normalisation (Ba et al. 2016, arXiv 1607.06450) of the projections and of the cell state.

The written-out loops take `x` [T, B, I], `h` and `c` [1, B, H], and `weights`: w_ih [4*H, I], w_hh [4*H, H], then
scale and shift of the norms of the input's projection [4*H], of the hidden state's [4*H], and of the cell state [H].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-5


def fused_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The operator of torch, over the last dimension."""
    return functional.layer_norm(x, [x.size(-1)], scale, shift, 1e-5)


def decomposed_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The same in elementary operations, which a fuser may take apart and join with others."""
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred * centred).mean(-1, keepdim=True)
    return centred * torch.rsqrt(variance + 1e-5) * scale + shift


def loop_with(norm: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., Any]:
    """A loop over time that normalises with `norm`."""

    def loop(x: Tensor, h: Tensor, c: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        w_ih, w_hh = weights[0], weights[1]
        h, c = h[0], c[0]
        outputs: list[Tensor] = []
        for step in x.unbind(0):
            from_x = norm(torch.mm(step, w_ih.t()), weights[2], weights[3])
            from_h = norm(torch.mm(h, w_hh.t()), weights[4], weights[5])
            i, f, g, o = (from_x + from_h).chunk(4, 1)
            c = norm(torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g), weights[6], weights[7])
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs), h.unsqueeze(0), c.unsqueeze(0)

    return loop


def parameters(lstm: nn.LSTM) -> dict[str, nn.Parameter]:
    """The LSTM's weights without its biases, and norms that have no effect yet: scales 1, shifts 0."""
    found = {name: getattr(lstm, name) for name in ("weight_ih_l0", "weight_hh_l0")}
    for name, size in (("input", 4), ("hidden", 4), ("cell", 1)):
        found[f"scale_{name}"] = nn.Parameter(torch.ones(size * lstm.hidden_size))
        found[f"shift_{name}"] = nn.Parameter(torch.zeros(size * lstm.hidden_size))
    return found


class LowerBound(nn.LSTM):
    """torch.nn.LSTM and, for each step, three layer norms of tensors that have nothing to do with it.

    No normalised LSTM built around the library's can be faster forwards. The output is detached: there is no backward
    that this would be a bound of.
    """

    gates: Tensor
    cell: Tensor

    def __init__(self, *sizes: Any, batch_size: int) -> None:
        super().__init__(*sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(k * self.hidden_size, EPSILON) for k in (4, 4, 1))
        self.register_buffer("gates", torch.randn(batch_size, 4 * self.hidden_size))
        self.register_buffer("cell", torch.randn(batch_size, self.hidden_size))

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> Any:  # type: ignore[override]
        """Outputs and states of the LSTM, detached."""
        output, (h, c) = super().forward(x, state)
        for _ in range(x.size(0)):
            for norm, unrelated in zip(self.norms, (self.gates, self.gates, self.cell), strict=True):
                norm(unrelated)
        return output.detach(), (h.detach(), c.detach())
