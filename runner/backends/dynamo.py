"""Any backend that is registered with torch._dynamo, by its name there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from runner.backends._dynamo import DynamoSettings
from runner.backends._packages import require
from runner.errors import UsageError
from runner.registry import unknown

if TYPE_CHECKING:
    from runner.workload import Workload

#: Registered with every torch, but not part of it: module and pip name.
PACKAGES = {
    "tvm": ("tvm", "apache-tvm"),
    "openxla": ("torch_xla", "torch_xla"),
    "openxla_eval": ("torch_xla", "torch_xla"),
}
#: Backends that need no asking: those of conf/backend, which every torch has.
KNOWN = frozenset({"eager", "aot_eager", "aot_ts", "cudagraphs", "ts"})
#: They compile the source code of a graph, and a lazy graph has none: torch 2.13 fails without this.
TORCHSCRIPT = frozenset({"ts", "aot_ts"})


@dataclass
class Dynamo(DynamoSettings):
    """`name` is one of torch._dynamo.list_backends(exclude_tags=None)."""

    name: str = "eager"
    fullgraph: bool = False
    dynamic: bool | None = None  # what torch.compile is told; None lets it find out

    @property
    def label(self) -> str:
        """What the column `backend` says."""
        return self.name

    @property
    def asks_torch(self) -> bool:
        """Whether only torch knows if there is such a backend."""
        return self.name not in KNOWN

    def validate(self) -> None:
        """Raise UsageError for a name that isn't registered with dynamo."""
        import torch

        known = torch._dynamo.list_backends(exclude_tags=None)
        if self.name not in known:
            raise UsageError(f"backend.name: {unknown('dynamo backend', self.name, known)}")

    def prepare(self, workload: Workload) -> Callable[..., Any]:
        """The model under torch.compile with this backend; dynamo's settings hold for the rest of this process."""
        import torch

        self.validate()
        if self.name in PACKAGES:
            require(*PACKAGES[self.name])
        if self.name in TORCHSCRIPT:
            torch._dynamo.config.use_lazy_graph_module = False
        self.apply_dynamo(workload)
        compiler: Callable[[Any], Any] = partial(
            torch.compile, backend=self.name, fullgraph=self.fullgraph, dynamic=self.dynamic
        )
        return self.compiled(workload.model, compiler)
