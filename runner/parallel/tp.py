"""Tensor parallelism: pairs of linear layers are split by columns and by rows."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.errors import Unsupported, UsageError
from runner.parallel.settings import Ranks
from runner.parallel.sharding import module_of

if TYPE_CHECKING:
    import torch

    from runner.workload import Workload


@dataclass
class Tp(Ranks):
    """`plan`: colwise or rowwise for patterns of module names (`*.mlp.c_fc`); conf/parallel/tp.yaml has common ones."""

    plan: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for pattern, style in self.plan.items():
            if style not in ("colwise", "rowwise"):
                raise UsageError(f"parallel.plan.{pattern}={style}: give colwise or rowwise")

    def wrap(self, workload: Workload) -> Workload:
        """The model, split in place over all ranks."""
        from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

        from runner.parallel.rank import mesh

        styles = {"colwise": ColwiseParallel, "rowwise": RowwiseParallel}
        model, place = module_of(workload), mesh(workload.device)
        found = {name: styles[style]() for name, style in self._chosen(model, place.size()).items()}
        if not found:
            raise Unsupported(
                f"parallel.plan names no pair of linear layers of {workload.name} that {place.size()} ranks can share"
            )
        parallelize_module(model, place, found)
        return workload

    def _chosen(self, model: torch.nn.Module, ranks: int) -> dict[str, str]:
        """Linear layers by name, and how each is split: of modules that have both kinds, all evenly divisible."""
        import torch

        siblings: dict[str, dict[str, str]] = {}
        uneven: set[str] = set()
        for name, module in model.named_modules():
            style = self._style(name) if isinstance(module, torch.nn.Linear) else None
            if style:
                parent = name.rpartition(".")[0]
                siblings.setdefault(parent, {})[name] = style
                features = module.out_features if style == "colwise" else module.in_features
                uneven |= {parent} if features % ranks else set()
        pairs = (found for parent, found in siblings.items() if parent not in uneven and len(set(found.values())) == 2)
        return {name: style for found in pairs for name, style in found.items()}

    def _style(self, name: str) -> str | None:
        return next((style for pattern, style in self.plan.items() if fnmatch.fnmatchcase(f".{name}", pattern)), None)
