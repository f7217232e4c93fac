"""Models across devices: torch's elastic agent starts one process per device inside the cell's child.

Every rank runs the same experiment on the same inputs. What an experiment decides by the clock, by memory or by a
comparison is agreed between the ranks (`agreement`), so that all make the same calls in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from runner.results.columns import Column

if TYPE_CHECKING:
    from runner.workload import Workload

#: Processes of a cell on a machine without accelerators, where `parallel.nproc` doesn't say.
NPROC_WITHOUT_ACCELERATOR = 2
#: The long table ranks.csv.
RANKS = (
    Column("process", int, "", "which of the cell's measurements this was, from 0; empty: the one for traces"),
    Column("rank", int, "", "number of the process among those that ran together"),
    Column("device_name", str, "", "model name of its CPU or accelerator"),
    Column("device_uuid", str, "", "UUID of its accelerator"),
    Column("threads", int, "", "threads it computes with"),
    Column("affinity", str, "", "CPUs it was pinned to, or inherit"),
    Column("abs_latency", float, "ms", "its own median time per call of the backend, from a common start"),
    Column("eager_latency", float, "ms", "the same of eager"),
    Column("eager_peak_mem", float, "GB", "its peak memory of an eager step (1e9 bytes)"),
    Column("dynamo_peak_mem", float, "GB", "its peak memory of a step of the backend"),
    Column("accuracy", str, "", "verdict on its outputs"),
    Column("status", str, "", "how it ended"),
)


class Parallel(Protocol):
    """A dataclass whose fields are the keys `parallel.*`; its module imports torch inside methods only."""

    nproc: int | None

    def wrap(self, workload: Workload) -> Workload:
        """The workload with its model spread over the ranks; called in each rank, before there is an optimizer.

        Raises `Unsupported` for a model that can't be spread so.
        """
        ...


def nproc_of(config: Mapping[str, Any]) -> int:
    """Processes that a cell consists of."""
    node = config.get("parallel")
    return int(node["nproc"]) if node else 1
