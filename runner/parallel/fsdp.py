"""FullyShardedDataParallel, the first version: parameters, gradients and optimizer state are sharded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runner.parallel.blocks import units
from runner.parallel.sharding import Sharded, compile_each_shape, dtype, module_of

if TYPE_CHECKING:
    from runner.workload import Workload


@dataclass
class Fsdp(Sharded):
    """As upstream's --fsdp, with units from the model's own blocks."""

    use_orig_params: bool = True  # what torch.compile needs
    limit_all_gathers: bool = True

    def wrap(self, workload: Workload) -> Workload:
        """The model sharded over all ranks."""
        import torch
        from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecision

        model = module_of(workload)
        chosen = set(units(model, self.wrap_policy, self.min_params))
        compile_each_shape(len(chosen))
        mixed = MixedPrecision(param_dtype=dtype(self.param_dtype), reduce_dtype=dtype(self.reduce_dtype))
        sharded = FullyShardedDataParallel(
            model,
            auto_wrap_policy=lambda module, recurse, **_: recurse or module in chosen,
            mixed_precision=mixed if self.param_dtype or self.reduce_dtype else None,
            device_id=torch.device(workload.device),
            use_orig_params=self.use_orig_params,
            limit_all_gathers=self.limit_all_gathers,
        )
        return replace(workload, model=sharded)
