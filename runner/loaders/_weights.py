"""Random weights that let a comparison of outputs see the whole model."""

from __future__ import annotations

import torch
from torch import nn
from torch._subclasses import FakeTensor

#: Below this, weights leave what they multiply out of the output, as far as any tolerance can tell.
_FAINT = 1e-3
_GAIN, _DEVIATION = 0.2, 0.02


def wake(model: nn.Module) -> nn.Module:
    """Give every weight that starts at (almost) zero a size that shows; returns the model.

    Residual branches start with a gain of 0 or 1e-6, and heads with 0: good for training, but what a wrong kernel does
    there never reaches the output, and no gradient reaches what lies before. Leaves alone tensors without values: on
    the meta device, and fake ones.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.is_meta or isinstance(parameter, FakeTensor):
                continue
            if name.endswith("bias") or parameter.abs().max() >= _FAINT:
                continue
            if parameter.dim() <= 1:
                parameter.fill_(_GAIN)
            else:
                parameter.normal_(0.0, _DEVIATION)
    return model
