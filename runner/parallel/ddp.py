"""DistributedDataParallel: a replica per rank, gradients averaged in every step."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from runner.parallel.settings import Ranks
from runner.parallel.sharding import module_of

if TYPE_CHECKING:
    from runner.workload import Workload


class OptimizeDdp(str, Enum):
    """What dynamo does about the buckets of gradients: torch._dynamo.config.optimize_ddp."""

    ddp_optimizer = "ddp_optimizer"  # graphs are split where buckets end
    python_reducer = "python_reducer"
    python_reducer_without_compiled_forward = "python_reducer_without_compiled_forward"
    no_optimization = "no_optimization"


@dataclass
class Ddp(Ranks):
    """As upstream's --ddp; unused parameters are looked for in every step, since a model may have some."""

    optimize_ddp: OptimizeDdp = OptimizeDdp.ddp_optimizer
    find_unused_parameters: bool = True
    bucket_cap_mb: int = 25
    static_graph: bool = False

    def wrap(self, workload: Workload) -> Workload:
        """The model in DistributedDataParallel."""
        import torch
        from torch.nn.parallel import DistributedDataParallel

        torch._dynamo.config.optimize_ddp = self.optimize_ddp.value

        class Copyable(DistributedDataParallel):
            """One whose deep copy is the replica alone: all ranks have the same data, so it gets the same results."""

            def __deepcopy__(self, memo: dict[int, Any]) -> torch.nn.Module:
                replica: torch.nn.Module = _Alone(copy.deepcopy(self.module, memo))
                return replica

        model = Copyable(
            module_of(workload),
            find_unused_parameters=self.find_unused_parameters,
            bucket_cap_mb=self.bucket_cap_mb,
            static_graph=self.static_graph,
        )
        return replace(workload, model=model)


def _Alone(module: Any) -> Any:  # noqa: N802 - makes an instance of the class that it hides
    """A module around `module` whose parameters have the names that DistributedDataParallel gives them."""
    import torch

    class Alone(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return self.module(*args, **kwargs)

    return Alone().train(module.training)
