"""The four exporters: from a flat model to a file."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from runner.dynamic import dynamic_dims, export_shapes
from runner.errors import Unsupported
from runner.onnx_export.choices import Exporter
from runner.onnx_export.failure import Finding, Step, failing, recorded_warnings
from runner.onnx_export.flat import FlatModel, input_names
from runner.workload import Workload, tensors_of

MODEL_FILE = "model.onnx"


@dataclass(frozen=True)
class Exported:
    """A model in a file. `findings` are the exporter's warnings, `seconds` what it took, writing included."""

    flat: FlatModel
    path: Path
    seconds: float
    findings: tuple[Finding, ...] = ()


def export(
    workload: Workload, chosen: Exporter, opset: int | None, folder: Path, reports: Path | None = None
) -> Exported:
    """Write `model.onnx`, and external data beside it where it exceeds 2 GB, into `folder`.

    The report that the newer exporter makes goes to `reports`. Raises `OnnxError`; `Unsupported` for sizes that can't
    vary as the workload asks, and for an opset that is not the file's.
    """
    with workload.autocast():
        flat = FlatModel(workload)
    own = replace(workload, model=flat, args=tuple(tensors_of((workload.args, workload.kwargs))), kwargs={})
    path = folder / MODEL_FILE
    options: dict[str, Any] = {"input_names": input_names(workload), "opset_version": opset}
    started = time.perf_counter()
    with recorded_warnings() as findings, failing(Step.EXPORT), torch.no_grad(), workload.autocast():
        if chosen is Exporter.torchscript:
            _trace(own, path, options)
        else:
            _translate(own, chosen, path, {**options, "report": reports is not None, "artifacts_dir": reports or "."})
    return Exported(flat, path, time.perf_counter() - started, tuple(findings))


def _trace(own: Workload, path: Path, options: dict[str, Any]) -> None:
    dims = {id(tensor): found for tensor, found in dynamic_dims(own)}
    named = zip(options["input_names"], own.args, strict=True)
    axes = {name: {d: f"{name}_{d}" for d in dims[id(t)]} for name, t in named if id(t) in dims}
    torch.onnx.export(own.model, own.args, str(path), dynamo=False, dynamic_axes=axes or None, **options)  # type: ignore[arg-type]


def _translate(own: Workload, chosen: Exporter, path: Path, options: dict[str, Any]) -> None:
    optimize = chosen is Exporter.dynamo_optimize
    shapes = export_shapes(own)
    program = torch.onnx.export(
        own.model,  # type: ignore[arg-type]
        own.args,
        dynamo=True,
        optimize=optimize,
        dynamic_shapes=shapes,
        verbose=False,
        **options,
    )
    assert program is not None
    _refuse_other_opset(program, chosen, options["opset_version"])
    if chosen is Exporter.dynamo_inline:
        from onnxscript import optimizer

        optimizer.inline(program.model)
    program.save(path)


def _refuse_other_opset(program: torch.onnx.ONNXProgram, chosen: Exporter, asked: int | None) -> None:
    """Raise `Unsupported` where torch kept its own opset: when a conversion fails, it only logs a warning."""
    written = program.model.opset_imports[""]
    if asked is not None and written != asked:
        raise Unsupported(
            f"backend.opset={asked}: exporter {chosen.value} can't convert this model to it and keeps {written}; give "
            f"backend.opset={written}, or for older ones backend.exporter=torchscript, which writes those itself"
        )
