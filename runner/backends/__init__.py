"""Backends: each turns a workload's model into the callable under test; one small module per family."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from runner.workload import Workload


class Backend(Protocol):
    """A dataclass whose fields are the keys `backend.*`. Its module imports torch inside methods only."""

    def prepare(self, workload: Workload) -> Callable[..., Any]:
        """The callable under test, called like the model. May be lazy: its first call then compiles.

        Raises `Unsupported` when a package or a capability is missing.
        """
        ...
