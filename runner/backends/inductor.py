"""torch.compile with inductor: modes, options, and inductor's own configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from runner.backends import _inductor
from runner.backends._dynamo import DynamoSettings
from runner.backends._inductor import InductorSettings

if TYPE_CHECKING:
    from runner.workload import Workload


@dataclass
class Inductor(InductorSettings, DynamoSettings):
    """`options` go to torch.compile, `config` to torch._inductor.config; both are checked against torch's own keys.

    CUDA graphs are off unless `cudagraphs` or `mode` ask for them.
    """

    fullgraph: bool = False
    dynamic: bool | None = None  # what torch.compile is told; None lets it find out
    cudagraphs: bool | None = None  # None = as mode says
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def asks_torch(self) -> bool:
        """Whether only torch can judge the settings."""
        return bool(self.options) or super().asks_torch

    def validate(self) -> None:
        """Raise UsageError for a mode or a setting that inductor doesn't have."""
        super().validate()
        _inductor.settings("backend.options", self.options)

    def prepare(self, workload: Workload) -> Callable[..., Any]:
        """The model under torch.compile; inductor's and dynamo's settings hold for the rest of this process."""
        self.apply_inductor(workload)
        self.apply_dynamo(workload)
        return self.compiled(workload.model, self.compiler())

    def compiler(self) -> Callable[[Any], Any]:
        """torch.compile as it is configured here. It takes a mode or options, not both: the mode becomes options."""
        import torch

        options = _inductor.mode_options(self.mode)
        if self.cudagraphs is not None:
            options["triton.cudagraphs"] = self.cudagraphs
        options |= _inductor.settings("backend.options", self.options)
        return partial(
            torch.compile,
            backend="inductor",
            fullgraph=self.fullgraph,
            dynamic=self.dynamic,
            options=options or None,
        )
