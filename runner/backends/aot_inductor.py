"""AOTInductor: export, a package of C++ and kernels compiled from it, and torch's C++ runtime, called from Python."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from runner.backends import _inductor
from runner.backends._ahead import AheadOfTime, Program, exported, inference_only, part
from runner.backends._inductor import InductorSettings
from runner.errors import UsageError

if TYPE_CHECKING:
    from runner.workload import Workload


@dataclass
class AotInductor(InductorSettings):
    """Settings are inductor's, and hold for the package only. `strict` as of backend `export`."""

    exports: ClassVar = True  # a word of policies: some models can't be exported

    strict: bool = False

    @property
    def asks_torch(self) -> bool:
        """Whether only torch can judge the settings: also which modes record CUDA graphs."""
        return self.mode is not None or super().asks_torch

    def validate(self) -> None:
        """Raise UsageError for a mode or a setting that inductor doesn't have, or has for programs in Python only."""
        super().validate()
        self._mode()

    def prepare(self, workload: Workload) -> Callable[..., Any]:
        """The loaded package, which holds copies of parameters and buffers."""
        from runner.dynamic import export_shapes

        inference_only(workload, "aot_inductor")
        shapes, configs = export_shapes(workload), {**self._mode(), **self.settings(workload)}

        def build(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
            return _load(exported(workload, args, kwargs, shapes, strict=self.strict), configs, workload.device)

        return AheadOfTime(workload, build)

    def _mode(self) -> dict[str, Any]:
        options = _inductor.mode_options(self.mode)
        if options.get("triton.cudagraphs"):
            raise UsageError(
                f"backend.mode={self.mode}: a package records no CUDA graphs; use default or max-autotune-no-cudagraphs"
            )
        return options


def _load(program: Any, configs: dict[str, Any], device: str) -> Program:
    """Compile an exported program into a package and load it; the file may go once it's loaded."""
    import torch
    from torch._inductor import aoti_compile_and_package, aoti_load_package

    with tempfile.TemporaryDirectory() as folder:
        with part("compile"):
            path = aoti_compile_and_package(program, package_path=f"{folder}/model.pt2", inductor_configs=configs)
        with part("load"):
            index = torch.device(device).index
            return aoti_load_package(path, device_index=-1 if index is None else index)
