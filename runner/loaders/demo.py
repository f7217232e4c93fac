"""Suite `demo`: three small models of our own that need no package but torch and compile in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.loaders import Facts, WithPolicies
from runner.loaders._building import Entry, build, facts
from runner.workload import LoadRequest, Workload

#: What each one shows is said beside its class.
CATALOGUE = {
    "mlp": Entry("demo:mlp", inference=64, training=64),
    "convnet": Entry("demo:convnet", inference=16, training=16),
    "transformer": Entry("demo:transformer", inference=8, training=8),
}


@dataclass
class Demo(WithPolicies):
    """Loader of the suite; it has no fields of its own."""

    def names(self) -> Sequence[str]:
        """The three models."""
        return tuple(CATALOGUE)

    def facts(self, name: str) -> Facts:
        """Source, batch sizes and missing packages."""
        return facts(CATALOGUE[name])

    def load(self, name: str, request: LoadRequest) -> Workload:
        """Build one with random weights and inputs."""
        return build(name, CATALOGUE[name], request)
