"""ONNX Runtime: the model exported to ONNX by one of four exporters, in a session of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from runner.backends._ahead import AheadOfTime, Program, inference_only, part
from runner.errors import Unsupported
from runner.onnx_export.choices import Exporter, GraphOptimization
from runner.workload import Dynamic

if TYPE_CHECKING:
    from runner.onnx_export.exporters import Exported
    from runner.onnx_export.session import Session
    from runner.workload import Workload


@dataclass
class Onnxruntime:
    """Inference, in the number formats that the provider has kernels for, with as many threads as eager."""

    exporter: Exporter = Exporter.dynamo
    opset: int | None = None  # None: the exporter's own choice
    providers: list[str] = field(default_factory=list)  # execution providers by priority; empty: those of the device
    graph_optimization: GraphOptimization = GraphOptimization.all

    @property
    def label(self) -> str:
        """What the column `backend` says."""
        return f"onnxruntime_{self.exporter.value}"

    def prepare(self, workload: Workload) -> Callable[..., Any]:
        """A session that the first call makes; the model's file is gone after it."""
        self.check(workload)

        def build(_args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Program:
            with TemporaryDirectory(prefix="runner-onnx-") as folder:
                with part("onnx_export"):
                    exported = self.export(workload, Path(folder))
                with part("onnx_session"):
                    return self.open(exported, workload)

        return AheadOfTime(workload, build)

    def check(self, workload: Workload) -> None:
        """Raise `Unsupported` for a workload, a package or a provider that won't do, before anything is exported."""
        from runner.onnx_export.packages import require
        from runner.onnx_export.session import usable_providers

        inference_only(workload, "onnxruntime")
        if workload.dynamic is Dynamic.unbacked:
            raise Unsupported("ONNX has no unbacked sizes of inputs: use dynamic=batch")
        for package in ("onnxruntime", *([] if self.exporter is Exporter.torchscript else ["onnxscript"])):
            require(package)
        usable_providers(tuple(self.providers), workload.device)

    def export(self, workload: Workload, folder: Path, reports: Path | None = None) -> Exported:
        """The first half: the model in a file in `folder`, the exporter's report in `reports`."""
        from runner.onnx_export.exporters import export

        return export(workload, self.exporter, self.opset, folder, reports)

    def open(self, exported: Exported, workload: Workload) -> Session:
        """The second half: a session."""
        from runner.onnx_export.session import Session, usable_providers

        providers = usable_providers(tuple(self.providers), workload.device)
        return Session(exported, workload, providers, self.graph_optimization)
