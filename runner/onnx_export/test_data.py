"""A model's inputs and expected outputs in the layout of onnx's own test runner: test_data_set_0/*.pb beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from runner.onnx_export.packages import require
from runner.onnx_export.session import ELEMENT_TYPES

FOLDER = "test_data_set_0"


def write(model: Path, inputs: Sequence[tuple[str, torch.Tensor]], outputs: Sequence[tuple[str, torch.Tensor]]) -> Path:
    """Write `input_0.pb`, ..., `output_0.pb`, ...; named and in the order of the graph. Returns their folder."""
    folder = model.parent / FOLDER
    folder.mkdir(exist_ok=True)
    for word, values in (("input", inputs), ("output", outputs)):
        for i, (name, tensor) in enumerate(values):
            (folder / f"{word}_{i}.pb").write_bytes(_serialized(name, tensor))
    return folder


def _serialized(name: str, tensor: torch.Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous()
    raw = plain.flatten().view(torch.uint8).numpy().tobytes()
    kind = ELEMENT_TYPES[plain.dtype]
    proto = require("onnx").TensorProto(name=name, data_type=kind, dims=plain.shape, raw_data=raw)
    return bytes(proto.SerializeToString())
