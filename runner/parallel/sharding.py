"""What both versions of FSDP have in common: which modules are a unit, and the formats they compute and reduce in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.errors import UsageError
from runner.parallel.blocks import Wrap
from runner.parallel.settings import Ranks

if TYPE_CHECKING:
    import torch

    from runner.workload import Workload

DTYPES = ("bfloat16", "float16", "float32")
#: Compilations that a unit's code may need: with dropout and without it for the check, each with grad and without.
FRAMES_PER_UNIT = 4


@dataclass
class Sharded(Ranks):
    """Parameters, gradients and optimizer state are sharded, unit by unit."""

    wrap_policy: Wrap = Wrap.blocks
    min_params: int = 100_000  # wrap_policy=size: parameters from which a module is a unit
    param_dtype: str | None = None  # what parameters are gathered and computed in; None = as they are
    reduce_dtype: str | None = None  # what gradients are reduced in

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("param_dtype", "reduce_dtype"):
            if getattr(self, name) not in (None, *DTYPES):
                raise UsageError(f"parallel.{name}={getattr(self, name)}: give one of {', '.join(DTYPES)}, or null")


def module_of(workload: Workload) -> torch.nn.Module:
    """The workload's model, which must be a module with parameters; raises Unsupported."""
    import torch

    from runner.errors import Unsupported

    model: Any = workload.model
    if not isinstance(model, torch.nn.Module) or not workload.parameters():
        raise Unsupported(f"{workload.name} has no parameters to shard: parallel=replicas runs it on every device")
    return model


def compile_each_shape(count: int) -> None:
    """Let dynamo compile what `count` units have in common once for each of their shapes, from now on in this process.

    Units are frames of their own, and blocks of one class share their code: a second shape would look to dynamo like
    a size that varies, and inductor would take minutes over code for any size, which runs slower, or fail at it.
    """
    from torch._dynamo import config

    config.automatic_dynamic_shapes = False
    config.recompile_limit = max(config.recompile_limit, FRAMES_PER_UNIT * count)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, config.recompile_limit)


def dtype(name: str | None) -> torch.dtype | None:
    """The dtype of that name."""
    import torch

    found: torch.dtype | None = getattr(torch, name) if name else None
    return found
