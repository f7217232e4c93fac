"""The words that can be chosen for an export and a session; without torch, for the configuration's schema."""

from __future__ import annotations

from enum import Enum


class Exporter(str, Enum):
    """How a model becomes ONNX."""

    torchscript = "torchscript"  # traced by TorchScript: torch.onnx.export(dynamo=False)
    dynamo = "dynamo"  # captured by torch.export and translated operator by operator: dynamo=True, optimize=False
    dynamo_inline = "dynamo_inline"  # the same, with the bodies of local functions put where they are called
    dynamo_optimize = "dynamo_optimize"  # the same, optimised by onnxscript: dynamo=True, optimize=True


class GraphOptimization(str, Enum):
    """What ONNX Runtime does to the graph when a session is made; its levels."""

    disable = "disable_all"
    basic = "enable_basic"
    extended = "enable_extended"
    all = "enable_all"
