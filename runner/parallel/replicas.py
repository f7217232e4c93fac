"""The same model on every device, without communication."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.parallel.settings import Ranks

if TYPE_CHECKING:
    from runner.workload import Workload


@dataclass
class Replicas(Ranks):
    """What a device costs its neighbours: power, memory bandwidth of the host, launches."""

    def wrap(self, workload: Workload) -> Workload:
        """The workload as it is."""
        return workload
