"""fully_shard, the second version of FSDP: sharded parameters are DTensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import UsageError
from runner.parallel.blocks import Wrap, units
from runner.parallel.fsdp import DTYPES, dtype, module_of
from runner.parallel.settings import Ranks

if TYPE_CHECKING:
    from runner.workload import Workload


@dataclass
class Fsdp2(Ranks):
    """Each unit, then the rest of the model."""

    wrap_policy: Wrap = Wrap.blocks
    min_params: int = 100_000
    param_dtype: str | None = None
    reduce_dtype: str | None = None
    reshard_after_forward: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("param_dtype", "reduce_dtype"):
            if getattr(self, name) not in (None, *DTYPES):
                raise UsageError(f"parallel.{name}={getattr(self, name)}: give one of {', '.join(DTYPES)}, or null")

    def wrap(self, workload: Workload) -> Workload:
        """The model, sharded in place over all ranks."""
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        from runner.parallel.rank import mesh

        model = module_of(workload)
        policy = MixedPrecisionPolicy(param_dtype=dtype(self.param_dtype), reduce_dtype=dtype(self.reduce_dtype))
        place = mesh(workload.device)
        for module in (*units(model, self.wrap_policy, self.min_params), model):
            fully_shard(module, mesh=place, reshard_after_forward=self.reshard_after_forward, mp_policy=policy)
        return workload
