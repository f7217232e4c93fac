"""NativeRT: an exported program in torch's native runtime, in builds of torch that have it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from runner.backends._ahead import AheadOfTime, Program, exported, inference_only, part
from runner.errors import Unsupported

if TYPE_CHECKING:
    from runner.workload import Workload


@dataclass
class Nativert:
    """`strict` as of backend `export`."""

    exports: ClassVar = True  # a word of policies: some models can't be exported

    strict: bool = False

    def prepare(self, workload: Workload) -> Callable[..., Any]:
        """The runner of the packaged program, which holds copies of parameters and buffers."""
        from runner.dynamic import export_shapes

        inference_only(workload, "nativert")
        runner, shapes = _runner(), export_shapes(workload)

        def build(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
            return _load(runner, exported(workload, args, kwargs, shapes, strict=self.strict))

        return AheadOfTime(workload, build)


def _runner() -> Any:
    """The class that runs a package. Public wheels have the name and nothing behind it: no constructor."""
    import torch

    runner = getattr(getattr(torch._C, "_nativert", None), "PyModelRunner", None)
    if not hasattr(runner, "run"):
        raise Unsupported(f"torch {torch.__version__} is built without NativeRT: use backend=aot_inductor")
    return runner


def _load(runner: Any, program: Any) -> Program:
    from torch.export.pt2_archive._package import package_pt2

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.pt2"
        with part("compile"):
            package_pt2(path, exported_programs={"forward": program.run_decompositions({})})
        with part("load"):
            run: Program = runner(path, "forward").run
            return run
