"""Suite `torchbench`: models under TorchBench's names, with its batch sizes and input shapes.

They are built from installed libraries and from our own code in `builtin`, with random weights and without network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from runner.loaders import CheckDefaults
from runner.loaders._building import build
from runner.loaders.builtin.catalogue import CATALOGUE
from runner.workload import LoadRequest, Workload


@dataclass
class Torchbench:
    """Loader of the suite; it has no fields."""

    check_defaults: ClassVar = CheckDefaults(batch_size=4, eval_mode=True)  # as dynamobench has it

    def names(self) -> Sequence[str]:
        """All models of the catalogue, in its order."""
        return tuple(CATALOGUE)

    def load(self, name: str, request: LoadRequest) -> Workload:
        """Build one with random weights and inputs; raises `Unsupported` when its package is missing."""
        return build(name, CATALOGUE[name], request)
