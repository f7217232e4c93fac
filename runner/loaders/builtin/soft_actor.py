"""soft_actor_critic: the actor of Haarnoja et al. 2018 for a pendulum, which gives a distribution of actions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from runner.loaders._building import Order, Parts

_STATE, _ACTIONS, _HIDDEN = 3, 1, 1024
_LOWEST, _HIGHEST = -10.0, 2.0  # logarithm of the deviation


class Action(NamedTuple):
    """A normal distribution [B, 1] whose samples are squashed by tanh."""

    mean: torch.Tensor
    deviation: torch.Tensor


class Actor(nn.Module):
    """Two hidden layers with orthogonal weights."""

    def __init__(self) -> None:
        """Sizes of the pendulum."""
        super().__init__()
        hidden = (nn.Linear(_STATE, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU())
        self.network = nn.Sequential(*hidden, nn.Linear(_HIDDEN, 2 * _ACTIONS))
        for name, parameter in self.named_parameters():
            (nn.init.zeros_ if name.endswith("bias") else nn.init.orthogonal_)(parameter)

    def forward(self, state: torch.Tensor) -> Action:
        """States [B, 3] to the distribution of the action."""
        mean, spread = self.network(state).chunk(2, dim=1)
        return Action(mean, (_LOWEST + (_HIGHEST - _LOWEST) * (spread.tanh() + 1) / 2).exp())


def log_likelihood(action: Action) -> torch.Tensor:
    """Mean negative logarithm of each density at a fixed point, but for a constant: a loss that both parts enter."""
    distance = (0.5 - action.mean) / action.deviation
    return (distance.square() / 2 + action.deviation.log()).mean()


def build(order: Order) -> Parts:
    """States [B, 3]: cosine, sine and speed, here random."""
    return Parts(Actor(), (order.draw.normal(order.batch_size, _STATE),), loss=log_likelihood)
