"""The runners: what builds each, which group it is in, what its times are related to and what it must agree with.

Imports no torch. The twenty names of PyTorch's `benchmarks/fastrnns` mean what they mean there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from runner.workload import Family


class Group(str, Enum):
    """Which runners `model=all` means; `rnns`, `cnns` and `vl_rnns` are upstream's."""

    all = "all"
    rnns = "rnns"  # one plain LSTM in many ways
    cnns = "cnns"  # residual networks, plain and traced
    vl_rnns = "vl_rnns"  # sequences of different lengths
    variants = "variants"  # dropout, layer norm, both directions, stacked
    cells = "cells"  # GRU, Elman networks, multiplicative integration


@dataclass(frozen=True)
class Runner:
    """`build` is "module:function" in this package, called with an Order and `options`."""

    build: str
    group: Group
    family: Family
    options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 64

    @property
    def compiles(self) -> bool:
        """Whether calling it is what makes torch.compile compile it."""
        return self.options.get("how") == "compile" or ":compiled_cell" in self.build

    @property
    def is_torchscript(self) -> bool:
        """Whether TorchScript's executor runs it."""
        return self.options.get("how") == "script" or self.options.get("traced", False) or ":stacked" in self.build


def _lstm(build: str, equal_to: str | None = "cudnn", **options: Any) -> Runner:
    return Runner(f"recurrent:{build}", Group.rnns, Family("lstm", "cudnn", equal_to), options)


def _variant(build: str, equal_to: str | None, reference: str = "cudnn", **options: Any) -> Runner:
    return Runner(f"recurrent:{build}", Group.variants, Family("lstm", reference, equal_to), options)


def _cell(build: str, family: Family, **options: Any) -> Runner:
    return Runner(f"recurrent:{build}", Group.cells, family, options)


def _variable(how: str, equal_to: str | None = "vl_cudnn") -> Runner:
    family = Family("vl_lstm", "vl_cudnn", equal_to)
    return Runner("recurrent:variable_length", Group.vl_rnns, family, {"how": how})


def _resnet(name: str, traced: bool = False) -> Runner:
    family = Family("resnet", name, name if traced else None)
    return Runner("convnets:resnet", Group.cnns, family, {"name": name, "traced": traced}, batch_size=32)


CATALOGUE = {
    "cudnn": _lstm("library", equal_to=None),
    "aten": _lstm("library", without_cudnn=True),
    "jit": _lstm("written", loop="plain", how="script"),
    "jit_premul": _lstm("written", loop="premul", how="script"),
    "jit_premul_bias": _lstm("written", loop="premul_bias", how="script"),
    "jit_simple": _lstm("written", loop="simple", how="script"),
    "jit_multilayer": _lstm("written", loop="multilayer", how="script"),
    "py": _lstm("written", loop="plain"),
    "compiled": _lstm("written", loop="plain", how="compile"),
    "compiled_premul_bias": _lstm("written", loop="premul_bias", how="compile"),
    "compiled_cell": _lstm("compiled_cell"),
    "vl_cudnn": _variable("packed", equal_to=None),
    "vl_jit": _variable("script"),
    "vl_py": _variable("py"),
    "resnet18": _resnet("resnet18"),
    "resnet18_jit": _resnet("resnet18", traced=True),
    "resnet50": _resnet("resnet50"),
    "resnet50_jit": _resnet("resnet50", traced=True),
    "cudnn_dropout": _variant("library", equal_to=None, dropout=0.4),
    "jit_dropout": _variant("stacked", "cudnn_dropout", "cudnn_dropout", dropout=0.4),
    "cudnn_layernorm": _variant("normalised_bound", "cudnn"),
    "py_layernorm": _variant("normalised", equal_to=None, norm="fused"),
    "jit_layernorm": _variant("normalised", "py_layernorm", norm="fused", how="script"),
    "jit_layernorm_decom": _variant("normalised", "py_layernorm", norm="decomposed", how="script"),
    "cudnn_bidirectional": _variant("library", equal_to=None, bidirectional=True),
    "jit_bidirectional": _variant(
        "written", "cudnn_bidirectional", "cudnn_bidirectional", loop="bidirectional", how="script"
    ),
    "jit_stacked": _variant("stacked", "cudnn"),
    "cudnn_gru": _cell("simple_library", Family("gru", "cudnn_gru"), cell="gru"),
    "jit_gru": _cell("simple_written", Family("gru", "cudnn_gru", "cudnn_gru"), cell="gru", how="script"),
    "cudnn_rnn_tanh": _cell("simple_library", Family("rnn", "cudnn_rnn_tanh"), cell="rnn_tanh"),
    "jit_rnn_tanh": _cell(
        "simple_written", Family("rnn", "cudnn_rnn_tanh", "cudnn_rnn_tanh"), cell="rnn_tanh", how="script"
    ),
    "cudnn_rnn_relu": _cell("simple_library", Family("rnn", "cudnn_rnn_relu"), cell="rnn_relu"),
    "jit_rnn_relu": _cell(
        "simple_written", Family("rnn", "cudnn_rnn_relu", "cudnn_rnn_relu"), cell="rnn_relu", how="script"
    ),
    "py_mlstm": _cell("multiplicative", Family("mlstm", "cudnn")),
    "jit_mlstm": _cell("multiplicative", Family("mlstm", "cudnn", "py_mlstm"), how="script"),
}
