"""PyTorch/XLA: a copy of the model on the XLA device, compiled through dynamo's backend `openxla`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.backends._ahead import as_module, inference_only
from runner.backends._packages import require
from runner.workload import map_tensors

if TYPE_CHECKING:
    from runner.workload import Workload


@dataclass
class Xla:
    """Inputs go to the XLA device and outputs come back in every call, and both are timed."""

    fullgraph: bool = False
    dynamic: bool | None = None  # what torch.compile is told; None lets it find out

    def prepare(self, workload: Workload) -> Callable[..., Any]:
        """The compiled copy between two transfers; the one of the output waits for the computation."""
        import torch

        inference_only(workload, "xla")
        device = require("torch_xla", "torch_xla").device()
        model = copy.deepcopy(as_module(workload.model)).to(device)
        compiled = torch.compile(model, backend="openxla", fullgraph=self.fullgraph, dynamic=self.dynamic)

        def call(*args: Any, **kwargs: Any) -> Any:
            there = map_tensors(lambda t: t.to(device), (args, kwargs))
            return map_tensors(lambda t: t.to(workload.device), compiled(*there[0], **there[1]))

        return call
