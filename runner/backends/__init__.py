"""Backends: each turns a workload's model into the callable under test; one small module per family."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from runner.workload import Workload


class Backend(Protocol):
    """A dataclass whose fields are the keys `backend.*`. Its module imports torch inside methods only.

    Optional: a property `label` for the column `backend`, where one class stands for several backends, and a class
    variable `policy_defaults`, policies of every model under this backend unless the model's own or the user's differ.

    Optional, together: a property `asks_torch`, whether there are settings that only torch (or what the backend drives)
    can judge, and a method `validate` that judges them in a process of its own before a device is waited for: it raises
    UsageError, or Unsupported where it can't tell.
    """

    def prepare(self, workload: Workload) -> Callable[..., Any]:
        """The callable under test, called like the model. May be lazy: its first call then compiles, and is timed.

        Raises `Unsupported` when a package or a capability is missing. A method `around_step` of the callable returns a
        context for a training step from its forward to its backward pass.
        """
        ...
