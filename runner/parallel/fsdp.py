"""FullyShardedDataParallel, the first version: parameters, gradients and optimizer state are sharded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runner.errors import UsageError
from runner.parallel.blocks import Wrap, units
from runner.parallel.settings import Ranks

if TYPE_CHECKING:
    import torch

    from runner.workload import Workload

DTYPES = ("bfloat16", "float16", "float32")


@dataclass
class Fsdp(Ranks):
    """As upstream's --fsdp, with units from the model's own blocks."""

    wrap_policy: Wrap = Wrap.blocks
    min_params: int = 100_000  # wrap_policy=size: parameters from which a module is a unit
    param_dtype: str | None = None  # what parameters are gathered and computed in; None = as they are
    reduce_dtype: str | None = None  # what gradients are reduced in
    use_orig_params: bool = True  # what torch.compile needs
    limit_all_gathers: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("param_dtype", "reduce_dtype"):
            if getattr(self, name) not in (None, *DTYPES):
                raise UsageError(f"parallel.{name}={getattr(self, name)}: give one of {', '.join(DTYPES)}, or null")

    def wrap(self, workload: Workload) -> Workload:
        """The model sharded over all ranks."""
        import torch
        from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecision

        model = module_of(workload)
        chosen = set(units(model, self.wrap_policy, self.min_params))
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


def module_of(workload: Workload) -> torch.nn.Module:
    """The workload's model, which must be a module with parameters; raises Unsupported."""
    import torch

    from runner.errors import Unsupported

    model: Any = workload.model
    if not isinstance(model, torch.nn.Module) or not workload.parameters():
        raise Unsupported(f"{workload.name} has no parameters to shard: parallel=replicas runs it on every device")
    return model


def dtype(name: str | None) -> torch.dtype | None:
    """The dtype of that name."""
    import torch

    found: torch.dtype | None = getattr(torch, name) if name else None
    return found
