"""Any backend that is registered with torch._dynamo, by its name there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.errors import UsageError
from runner.registry import unknown

if TYPE_CHECKING:
    from runner.workload import Workload


@dataclass
class Dynamo:
    """`name` is one of torch._dynamo.list_backends(exclude_tags=None)."""

    name: str = "eager"
    fullgraph: bool = False
    dynamic: bool | None = None  # what torch.compile is told; None lets it find out

    @property
    def label(self) -> str:
        """What the column `backend` says."""
        return self.name

    def prepare(self, workload: Workload) -> Callable[..., Any]:
        """The model under torch.compile with this backend."""
        import torch

        known = torch._dynamo.list_backends(exclude_tags=None)
        if self.name not in known:
            raise UsageError(f"backend.name: {unknown('dynamo backend', self.name, known)}")
        return torch.compile(
            workload.model, backend=self.name, fullgraph=self.fullgraph, dynamic=self.dynamic
        )
