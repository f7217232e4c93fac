"""What can be said about the device; the group `device`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeviceSettings:
    """The device that a cell runs on.

    `index` counts the visible devices of the type; None takes one that is free. `cpus` is the CPU list (0-3,8) that
    the cell is pinned to and that no other cell may use meanwhile; of several lists (0-7|8-15) it takes one that is
    free, and `numa` stands for the CPUs of each NUMA node. None means all that this process may use.
    """

    type: str = "auto"
    index: int | None = None
    cpus: str | None = None
