"""fully_shard, the second version of FSDP: sharded parameters are DTensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.parallel.blocks import units
from runner.parallel.sharding import Sharded, compile_each_shape, dtype, module_of

if TYPE_CHECKING:
    from runner.workload import Workload


@dataclass
class Fsdp2(Sharded):
    """Each unit, then the rest of the model."""

    reshard_after_forward: bool = True

    def wrap(self, workload: Workload) -> Workload:
        """The model, sharded in place over all ranks."""
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        from runner.parallel.rank import mesh

        model = module_of(workload)
        policy = MixedPrecisionPolicy(param_dtype=dtype(self.param_dtype), reduce_dtype=dtype(self.reduce_dtype))
        place = mesh(workload.device)
        chosen = units(model, self.wrap_policy, self.min_params)
        compile_each_shape(len(chosen))
        for module in (*chosen, model):
            fully_shard(module, mesh=place, reshard_after_forward=self.reshard_after_forward, mp_policy=policy)
        return workload
