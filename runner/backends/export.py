"""torch.export, and the exported graph run by torch as it is: what does capturing alone cost and give?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from runner.backends._ahead import AheadOfTime, Program, exported

if TYPE_CHECKING:
    from runner.workload import Workload


@dataclass
class Export:
    """`strict` captures with dynamo, otherwise Python itself runs the model on fake tensors."""

    exports: ClassVar = True  # a word of policies: some models can't be exported

    strict: bool = False

    @property
    def label(self) -> str:
        """What the column `backend` says."""
        return "export_strict" if self.strict else "export"

    def prepare(self, workload: Workload) -> Callable[..., Any]:
        """The module of the exported program, which shares parameters and buffers with the model: it can train."""
        from runner.dynamic import export_shapes

        shapes = export_shapes(workload)

        def build(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
            return exported(workload, args, kwargs, shapes, strict=self.strict).module()

        return AheadOfTime(workload, build)
