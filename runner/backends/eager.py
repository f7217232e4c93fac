"""The model as it is: the baseline, and with itself an A/A measurement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.workload import Workload


@dataclass
class Eager:
    """Nothing is compiled."""

    def prepare(self, workload: Workload) -> Callable[..., Any]:
        """The model itself."""
        return workload.model
