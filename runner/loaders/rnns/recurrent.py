"""Builds the recurrent runners: the library's modules, and the written-out loops around the same parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from runner.errors import Unsupported
from runner.loaders._building import Parts
from runner.loaders.rnns import cells, layernorm, loops, others, stacks, variable
from runner.loaders.rnns.parts import Order, WeightedSum, WithDropout, Written
from runner.loaders.rnns.scripting import script

#: Bounds of the lengths in a batch of sequences of different lengths, the upper one excluded.
LENGTHS = (30, 100)
HOW: dict[str, Callable[..., Any]] = {"py": lambda function: function, "script": script, "compile": torch.compile}
LSTM_LOOPS: dict[str, Callable[..., Any]] = {
    "plain": loops.plain(cells.lstm_cell),
    "simple": loops.simple,
    "premul": loops.premul,
    "premul_bias": loops.premul_bias,
    "multilayer": stacks.multilayer,
    "bidirectional": stacks.bidirectional,
}
NORMS = {"fused": layernorm.fused_norm, "decomposed": layernorm.decomposed_norm}
CELLS: dict[str, tuple[Callable[..., nn.RNNBase], Callable[..., Any]]] = {
    "gru": (nn.GRU, cells.gru_cell),
    "rnn_tanh": (nn.RNN, cells.rnn_tanh_cell),
    "rnn_relu": (lambda *sizes: nn.RNN(*sizes, nonlinearity="relu"), cells.rnn_relu_cell),
}


class Aten(nn.LSTM):
    """torch.nn.LSTM with cuDNN switched off; on a CPU the same as without."""

    def forward(self, x: Any, state: Any = None) -> Any:
        """Outputs of all steps, and the last states."""
        with torch.backends.cudnn.flags(enabled=False):
            return super().forward(x, state)


def lstm(order: Order, kind: Callable[..., nn.LSTM] = nn.LSTM, **options: Any) -> nn.LSTM:
    """torch.nn.LSTM or its kin in the ordered sizes: made first, so that all runners have the same weights."""
    shapes = order.shapes
    return kind(shapes.input_size, shapes.hidden_size, shapes.num_layers, **options)


def finish(order: Order, model: nn.Module, num_states: int = 2, directions: int = 1) -> Parts:
    """The model with inputs [T, B, I] and states [L*D, B, H], and the loss over all its outputs [T, B, D*H]."""
    shapes, batch = order.shapes, order.batch_size
    x = order.draw.normal(shapes.seq_length, batch, shapes.input_size)
    rows = shapes.num_layers * directions
    states = tuple(order.draw.normal(rows, batch, shapes.hidden_size) for _ in range(num_states))
    loss = WeightedSum(order.draw.normal(shapes.seq_length, batch, directions * shapes.hidden_size))
    return Parts(model, (x, states if num_states > 1 else states[0]), loss=loss)


def require_one_layer(order: Order) -> None:
    """Raise Unsupported for more."""
    if order.shapes.num_layers > 1:
        layers = f"suite.num_layers={order.shapes.num_layers}"
        raise Unsupported(f"{order.name} has one layer, {layers} was given: use cudnn, jit_multilayer or jit_stacked")


def library(order: Order, without_cudnn: bool = False, bidirectional: bool = False, dropout: float = 0.0) -> Parts:
    """torch.nn.LSTM."""
    used = dropout if order.shapes.num_layers > 1 else 0.0  # with one layer there is nothing between layers
    model = lstm(order, Aten if without_cudnn else nn.LSTM, bidirectional=bidirectional, dropout=used)
    return finish(order, model, directions=2 if bidirectional else 1)


def written(order: Order, loop: str, how: str = "py") -> Parts:
    """A written-out loop of an LSTM, in Python, scripted or compiled."""
    bidirectional = loop == "bidirectional"
    if loop not in {"multilayer", "bidirectional"}:
        require_one_layer(order)
    made = lstm(order, bidirectional=bidirectional)
    model = Written(HOW[how](LSTM_LOOPS[loop]), dict(made.named_parameters()))
    return finish(order, model, directions=2 if bidirectional else 1)


def compiled_cell(order: Order) -> Parts:
    """A loop in Python over a compiled cell."""
    require_one_layer(order)
    made = lstm(order)
    return finish(order, Written(loops.plain(torch.compile(cells.lstm_cell)), dict(made.named_parameters())))


def stacked(order: Order, dropout: float = 0.0) -> Parts:
    """Scripted layers with dropout between them."""
    made = lstm(order)
    return finish(order, WithDropout(script(stacks.stacked), dict(made.named_parameters()), dropout))


def normalised(order: Order, norm: str, how: str = "py") -> Parts:
    """A written-out LSTM with layer norms."""
    require_one_layer(order)
    parameters = layernorm.parameters(lstm(order))
    return finish(order, Written(HOW[how](layernorm.loop_with(NORMS[norm])), parameters))


def normalised_bound(order: Order) -> Parts:
    """torch.nn.LSTM and unrelated layer norms."""

    def made(*sizes: int) -> nn.LSTM:
        return layernorm.LowerBound(*sizes, batch_size=order.batch_size)

    return finish(order, lstm(order, made))


def multiplicative(order: Order, how: str = "py") -> Parts:
    """A written-out mLSTM; the library has none."""
    require_one_layer(order)
    return finish(order, Written(HOW[how](others.mlstm), others.mlstm_parameters(lstm(order))))


def simple_library(order: Order, cell: str) -> Parts:
    """torch.nn.GRU or torch.nn.RNN."""
    shapes = order.shapes
    model = CELLS[cell][0](shapes.input_size, shapes.hidden_size, shapes.num_layers)
    return finish(order, model, num_states=1)


def simple_written(order: Order, cell: str, how: str = "py") -> Parts:
    """A written-out loop of a network whose state is the hidden state alone."""
    require_one_layer(order)
    made, step = CELLS[cell]
    parameters = dict(made(order.shapes.input_size, order.shapes.hidden_size, 1).named_parameters())
    return finish(order, Written(HOW[how](others.one_state(step)), parameters), num_states=1)


def variable_length(order: Order, how: str) -> Parts:
    """An LSTM over a list of sequences of random lengths; suite.seq_length has no say."""
    require_one_layer(order)
    shapes, draw = order.shapes, order.draw
    lengths = draw.integers(*LENGTHS, order.batch_size).tolist()
    sequences = [draw.normal(length, shapes.input_size) for length in lengths]
    states = tuple(draw.normal(1, order.batch_size, shapes.hidden_size) for _ in range(2))
    loss = WeightedSum(draw.normal(max(lengths), order.batch_size, shapes.hidden_size))
    if how == "packed":
        return Parts(lstm(order, variable.Packed), (sequences, states), loss=loss)
    loop = HOW[how](variable.one_by_one(cells.lstm_cell))
    return Parts(Written(loop, dict(lstm(order).named_parameters())), (sequences, states), loss=loss)
