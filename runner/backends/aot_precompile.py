"""torch.compile ahead of time: one full graph with its guards dropped, written to a file and loaded from there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.backends import _inductor
from runner.backends._ahead import AheadOfTime, Program, as_module, part
from runner.backends._inductor import InductorSettings

if TYPE_CHECKING:
    import torch

    from runner.workload import Workload


@dataclass
class AotPrecompile(InductorSettings):
    """Settings are inductor's. Nothing looks at the inputs when the program is called: others give wrong results."""

    dynamic: bool | None = None  # what torch.compile is told; None lets it find out

    def prepare(self, workload: Workload) -> Callable[..., Any]:
        """The loaded program, called with the model, whose parameters it uses: it can train."""
        self.apply_inductor(workload)
        options = _inductor.mode_options(self.mode)

        def build(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
            return self._load(as_module(workload.model), (args, kwargs), options)

        return AheadOfTime(workload, build)

    def _load(self, model: torch.nn.Module, inputs: tuple[Any, Any], options: dict[str, Any]) -> Program:
        import torch
        from torch._dynamo import config

        # A dropout rate is a float that a second program finds changed; it's to be a constant there too.
        wanted = config.patch(enable_aot_compile=True, specialize_float=True)
        with wanted, tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "program"
            with part("compile"):
                unguarded = {**options, "guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
                compiled: Any = torch.compile(model, fullgraph=True, dynamic=self.dynamic, options=unguarded)
                compiled.forward.aot_compile(inputs).save_compiled_function(str(path))
            with part("load"), path.open("rb") as file:
                return partial(torch.compiler.load_compiled_function(file), model)
