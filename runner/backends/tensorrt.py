"""TensorRT through torch_tensorrt's dynamo backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runner.backends._ahead import inference_only
from runner.backends._packages import require
from runner.errors import Unsupported, UsageError
from runner.registry import unknown

if TYPE_CHECKING:
    from runner.workload import Workload


@dataclass
class Tensorrt:
    """`options` are the fields of torch_tensorrt.dynamo.CompilationSettings."""

    dynamic: bool | None = None  # what torch.compile is told; None lets it find out
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def asks_torch(self) -> bool:
        """Whether only torch_tensorrt can judge the settings."""
        return bool(self.options)

    def validate(self) -> None:
        """Raise UsageError for an option that TensorRT doesn't have, Unsupported without torch_tensorrt."""
        _refuse_unknown(self.options, require("torch_tensorrt", "torch-tensorrt").dynamo.CompilationSettings)

    def prepare(self, workload: Workload) -> Callable[..., Any]:
        """The model under torch.compile; operators that TensorRT lacks stay with torch."""
        import torch

        inference_only(workload, "tensorrt")
        require("torch_tensorrt", "torch-tensorrt")
        if torch.device(workload.device).type == "cpu":
            raise Unsupported("backend tensorrt runs on NVIDIA GPUs: use another device")
        self.validate()
        return torch.compile(workload.model, backend="tensorrt", dynamic=self.dynamic, options=dict(self.options))


def _refuse_unknown(options: Mapping[str, Any], settings: Any) -> None:
    known = settings.__dataclass_fields__
    for key in options:
        if key not in known:
            raise UsageError(f"backend.options: {unknown('setting of TensorRT', key, known)}")
