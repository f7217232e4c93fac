"""Loaders: one module per suite; a loader lists a suite's models and builds a Workload from a name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from runner.workload import LoadRequest, Workload


class Loader(Protocol):
    """A dataclass whose fields are the keys `suite.*`; built in the parent and again in the child."""

    def names(self) -> Sequence[str]:
        """Every known model name; reads data files or directories, imports neither torch nor the models.

        `model=all` means the names listed in `conf/models/<suite>.yaml` where that exists, else all of these.
        """
        ...

    def load(self, name: str, request: LoadRequest) -> Workload:
        """Build the model; raises `Unsupported` naming the missing package, data or device."""
        ...
