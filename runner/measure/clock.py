"""The two things that the engine asks the time of: a wall clock and a device with a queue. Both are injected."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

#: What device events resolve, in ns.
EVENT_RESOLUTION_NS = 500
#: Overwritten by `flush_l2` where the device does not say how large its last-level cache is.
DEFAULT_L2_BYTES = 256 * 2**20
_CALIBRATION_CYCLES = 10_000_000


class Clock(Protocol):
    """A monotonic clock."""

    def now_ns(self) -> int:
        """Nanoseconds since some fixed moment."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass, before a pair is measured again."""
        ...


class Event(Protocol):
    """A point in a device's queue."""

    def record(self) -> None:
        """Enqueue the event now."""
        ...

    def elapsed_ms(self, later: Any) -> float:
        """Milliseconds from this event to `later`; both must have completed."""
        ...


class Device(Protocol):
    """What the engine asks of the device that runs both sides."""

    def sync(self) -> None:
        """Wait until all queued work is done; does nothing where work is not queued."""
        ...

    def event(self) -> Event | None:
        """A new timing event, or None where the device has none."""
        ...

    def flush_l2(self) -> None:
        """Overwrite the device's last-level cache."""
        ...

    def prime(self, duration_ns: int) -> None:
        """Keep the queue busy for about this long, so that what is enqueued next waits and then runs back to back."""
        ...


class WallClock:
    """The real clock."""

    def now_ns(self) -> int:
        """`time.perf_counter_ns`."""
        return time.perf_counter_ns()

    def sleep(self, seconds: float) -> None:
        """`time.sleep`."""
        time.sleep(seconds)


class QueuedDevice(Protocol):
    """The part of a runner's device that `TorchDevice` needs."""

    type: str

    @property
    def torch_name(self) -> str:
        """Device string for torch."""
        ...

    def synchronize(self) -> None:
        """Wait until all queued work is done."""
        ...

    def event(self) -> Event | None:
        """A new timing event, or None."""
        ...

    def l2_bytes(self) -> int | None:
        """Size of the last-level cache in bytes, or None where unknown."""
        ...


class TorchDevice:
    """The engine's device on top of torch: adds the cache flush and the priming of the queue."""

    def __init__(self, device: QueuedDevice) -> None:
        self._device = device
        self._flushed: torch.Tensor | None = None
        self._cycles_per_ns = 0.0

    def sync(self) -> None:
        """Wait for the device."""
        self._device.synchronize()

    def event(self) -> Event | None:
        """A new event of the device."""
        return self._device.event()

    def flush_l2(self) -> None:
        """Zero a buffer as large as the cache; allocated on first use."""
        import torch

        if self._flushed is None:
            size = self._device.l2_bytes() or DEFAULT_L2_BYTES
            self._flushed = torch.empty(size, dtype=torch.uint8, device=self._device.torch_name)
        self._flushed.zero_()

    def prime(self, duration_ns: int) -> None:
        """Enqueue torch's spinning kernel where the backend has one, else a cache flush."""
        import torch

        spin = getattr(torch.get_device_module(self._device.type), "_sleep", None)
        if spin is None:
            self.flush_l2()
            return
        if not self._cycles_per_ns:
            self._cycles_per_ns = self._calibrate(spin)
        spin(max(1, int(duration_ns * self._cycles_per_ns)))

    def _calibrate(self, spin: Any) -> float:
        start, stop = self.event(), self.event()
        if start is None or stop is None:
            return 1.0
        spin(1)  # the first launch loads the kernel
        self.sync()
        start.record()
        spin(_CALIBRATION_CYCLES)
        stop.record()
        self.sync()
        return _CALIBRATION_CYCLES / (start.elapsed_ms(stop) * 1e6)
