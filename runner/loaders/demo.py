"""Suite `demo`: three small models of our own that need no package but torch and compile in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.loaders._building import Entry, build
from runner.workload import LoadRequest, Workload

#: What each one shows is said beside its class.
CATALOGUE = {
    "mlp": Entry("demo:mlp", inference=64, training=64),
    "convnet": Entry("demo:convnet", inference=16, training=16),
    "transformer": Entry("demo:transformer", inference=8, training=8),
}


@dataclass
class Demo:
    """Loader of the suite; it has no fields."""

    def names(self) -> Sequence[str]:
        """The three models."""
        return tuple(CATALOGUE)

    def load(self, name: str, request: LoadRequest) -> Workload:
        """Build one with random weights and inputs."""
        return build(name, CATALOGUE[name], request)
