"""Devices: one module per device type, on torch.accelerator and torch.get_device_module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Event(Protocol):
    """A point in a device's queue."""

    def record(self) -> None:
        """Enqueue the event now."""
        ...

    def elapsed_ms(self, later: Event) -> float:
        """Milliseconds from this event to `later`; both must have completed."""
        ...


class Device(Protocol):
    """What the child asks of the device it measures on. Built in the child; see also `runner.devices.lease`."""

    type: str  # torch's device type
    index: int | None

    @property
    def torch_name(self) -> str:
        """Device string for torch: cpu, cuda:0."""
        ...

    def check(self) -> None:
        """Make it the current device; raises `Unsupported` where it can't be used."""
        ...

    def synchronize(self) -> None:
        """Wait until all queued work is done; a no-op where work is not queued."""
        ...

    def event(self) -> Event | None:
        """A new timing event, or None where the device has none."""
        ...

    def reset_peak_memory(self) -> None:
        """Forget the high-water mark."""
        ...

    def peak_memory_bytes(self) -> int | None:
        """High-water mark since the reset, in bytes, or None where the device keeps none."""
        ...

    def free_memory_bytes(self) -> int | None:
        """Memory that an allocation could get now, in bytes."""
        ...

    def empty_cache(self) -> None:
        """Give cached blocks back."""
        ...

    def l2_bytes(self) -> int | None:
        """Size of the last-level cache that `l2_flush` overwrites, in bytes."""
        ...

    def graphed(self, call: Callable[[], Any]) -> Callable[[], Any] | None:
        """`call` recorded once, as a function that replays its kernels; None where the device has no such graphs.

        Memory is not copied: a replay reads and writes what the recorded call did. Raises what torch raises when the
        call can't be recorded.
        """
        ...

    def facts(self) -> dict[str, Any]:
        """device_name and device_uuid, where it has one, for the row; run.json has more from `detect.facts`."""
        ...
