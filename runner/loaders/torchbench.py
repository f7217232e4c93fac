"""Suite `torchbench`: models under TorchBench's names, with its batch sizes and input shapes.

With a checkout of pytorch/benchmark, its own classes build them; without, installed libraries and our code in
`builtin` do. Either way without network, and with random weights unless a checkout's pretrained ones are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import ClassVar

from runner.errors import UsageError
from runner.loaders import CheckDefaults, Facts, WithPolicies
from runner.loaders._building import build, facts
from runner.loaders.builtin.catalogue import CATALOGUE
from runner.loaders.checkout.directory import Checkout
from runner.workload import LoadRequest, Workload


class Weights(str, Enum):
    """Pretrained leaves a checkout's models alone; they then need weights that were fetched before."""

    random = "random"
    pretrained = "pretrained"


def _home() -> str:
    return os.environ.get("TORCHBENCH_HOME", "")


@dataclass
class Torchbench(WithPolicies):
    """Loader of the suite."""

    checkout: str = field(default_factory=_home)  # folder of a pytorch/benchmark clone; empty: the built-in models
    weights: Weights = Weights.random

    check_defaults: ClassVar = CheckDefaults(batch_size=4, eval_mode=True)  # as dynamobench has it

    def __post_init__(self) -> None:
        """Refuse a folder that is no checkout, and weights that the built-in models have not."""
        if not self.checkout and self.weights is Weights.pretrained:
            raise UsageError("suite.weights=pretrained needs suite.checkout: the built-in models have random weights")
        self._found = Checkout(Path(self.checkout).expanduser().absolute()) if self.checkout else None

    def names(self) -> Sequence[str]:
        """All built-in models; or all of the checkout, the canary ones after the core ones."""
        if self._found is None:
            return tuple(CATALOGUE)
        return tuple(dict.fromkeys([*self._found.core(), *self._found.canary()]))

    def listed(self) -> Sequence[str]:
        """What `model=all` means: the checkout's core models; empty where the models' file says it."""
        return self._found.core() if self._found else ()

    def facts(self, name: str) -> Facts:
        """Source, batch sizes and what is missing; of a checkout's model by its source, which is not imported."""
        if self._found is None:
            return facts(CATALOGUE[name])
        from runner.devices import detect
        from runner.loaders.checkout.missing import needed

        source = self._found.source(name)
        missing = needed(source.missing_packages())
        if not missing and source.needs_gpu() and detect.resolve("auto") == "cpu":
            missing = "needs a CUDA device"
        inference, training = (source.batch_size(f"DEFAULT_{test}_BSIZE") for test in ("EVAL", "TRAIN"))
        return Facts("torchbenchmark", inference, training, missing)

    def parameters(self, name: str) -> int | None:
        """How many a checkout's model has, if that is known without making them; the built-in ones are recorded."""
        if self._found is None:
            return None
        from runner.loaders.checkout.loading import parameters

        return parameters(self._found, name)

    def load(self, name: str, request: LoadRequest) -> Workload:
        """Build one; raises `Unsupported` naming the package, data, weights or device that it lacks."""
        if self._found is None:
            return build(name, CATALOGUE[name], request)
        from runner.loaders.checkout.loading import load

        return load(self._found, name, request, self.weights is Weights.pretrained)
