"""What a builder of a runner is asked for, the module around a written-out loop, and the loss of all runners."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from runner.loaders._building import Draw
from runner.workload import tensors_of


@dataclass(frozen=True)
class Shapes:
    """Sizes of a recurrent network; its states are [num_layers, B, hidden_size]."""

    seq_length: int
    num_layers: int
    input_size: int
    hidden_size: int


@dataclass(frozen=True)
class Order:
    """What a builder is asked for. `draw` gives every runner the same inputs, the seeded generator the same weights."""

    name: str
    training: bool
    batch_size: int
    device: str
    draw: Draw
    shapes: Shapes


@dataclass(frozen=True, eq=False)
class WeightedSum:
    """The sum of a model's first output, each element with its own weight.

    Its gradient is `weights`: every runner's backward starts from the same gradient of the same output.
    """

    weights: Tensor

    def __call__(self, output: Any) -> Tensor:
        """Scalar, in the wider of the two dtypes."""
        return (next(tensors_of(output)) * self.weights).sum()


class Written(nn.Module):
    """A written-out loop as a module: it gets the parameters under torch.nn's names and has torch.nn's signature."""

    def __init__(self, loop: Callable[..., Any], parameters: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        for name, parameter in parameters.items():
            self.register_parameter(name, parameter)
        self.loop = loop

    def forward(self, x: Any, state: Any) -> Any:
        """Outputs of all steps, and the last state: a tuple for an LSTM, one tensor for others."""
        weights = list(self._parameters.values())
        if isinstance(state, Tensor):
            return self.loop(x, state, weights)
        output, h, c = self.loop(x, state[0], state[1], weights)
        return output, (h, c)


class WithDropout(Written):
    """A written-out loop that drops out at the rate `dropout` while training."""

    def __init__(self, loop: Callable[..., Any], parameters: Mapping[str, nn.Parameter], dropout: float) -> None:
        super().__init__(loop, parameters)
        self.dropout = dropout

    def forward(self, x: Any, state: Any) -> Any:
        """Outputs of all steps, and the last states."""
        return self.loop(x, state, list(self._parameters.values()), self.dropout, self.training)
