"""Any accelerator that torch knows, through torch.get_device_module: xpu, mps, a vendor's own backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from runner.errors import Unsupported

if TYPE_CHECKING:
    from runner.devices import Event


@dataclass
class Accelerator:
    """What all accelerators have in common; where a vendor's module lacks a function, the answer is None."""

    type: str = "cuda"
    index: int | None = None
    cpus: str | None = None

    @property
    def torch_name(self) -> str:
        """`xpu:0`, and `mps` for the type that has no index."""
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def check(self) -> None:
        """Make it the current device; raises Unsupported where it can't be used."""
        if not self.module.is_available():
            raise Unsupported(f"device={self.type}: this torch finds no such device on this machine")
        count = self.module.device_count()
        if self.index is not None and self.index >= count:
            raise Unsupported(f"device.index={self.index}: there are {count} {self.type} devices, counted from 0")
        if self.index is not None and hasattr(self.module, "set_device"):  # mps has one device and no such function
            self.module.set_device(self.index)

    @property
    def module(self) -> ModuleType:
        """torch.cuda, torch.xpu, torch.mps, ..."""
        import torch

        try:
            return torch.get_device_module(self.type)  # type: ignore[no-any-return]
        except RuntimeError as error:
            raise Unsupported(f"device={self.type}: this torch has no such device type") from error

    def synchronize(self) -> None:
        """Wait until all queued work is done."""
        self._call("synchronize")

    def event(self) -> Event | None:
        """A new timing event."""
        import torch

        try:
            return TorchEvent(torch.Event(device=self.torch_name, enable_timing=True))
        except (RuntimeError, NotImplementedError):  # the backend has no events
            return None

    def reset_peak_memory(self) -> None:
        """Forget the high-water mark of the caching allocator."""
        self._call("reset_peak_memory_stats")

    def peak_memory_bytes(self) -> int | None:
        """High-water mark of allocated memory since the reset, tensors that were there before included."""
        return self._call("max_memory_allocated")  # type: ignore[no-any-return]

    def free_memory_bytes(self) -> int | None:
        """Memory that the driver could still hand out."""
        free = self._call("mem_get_info")
        return None if free is None else int(free[0])

    def empty_cache(self) -> None:
        """Give cached blocks back to the driver."""
        self.module.empty_cache()

    def l2_bytes(self) -> int | None:
        """Size of the last-level cache."""
        return getattr(self.properties(), "L2_cache_size", None)

    def properties(self) -> Any:
        """Describe the device in torch's words; None where torch has none."""
        return self._call("get_device_properties")

    def graphed(self, call: Callable[[], Any]) -> Callable[[], Any] | None:  # noqa: ARG002 - CUDA has them
        """None: torch has no common interface for graphs."""
        return None

    def facts(self) -> dict[str, Any]:
        """device_name and, where torch knows them, device_uuid and driver."""
        found = self.properties()
        known = {
            "device_name": getattr(found, "name", self.type),
            "device_uuid": getattr(found, "uuid", None),
            "driver": getattr(found, "driver_version", None),
        }
        return {key: str(value) for key, value in known.items() if value is not None}

    def _call(self, name: str) -> Any:
        """What a function of torch's module says of the current device; None where there is none."""
        function = getattr(self.module, name, None)
        return None if function is None else function()


class TorchEvent:
    """torch's event behind our contract."""

    def __init__(self, event: Any) -> None:
        self._event = event

    def record(self) -> None:
        """Enqueue the event on the current stream."""
        self._event.record()

    def elapsed_ms(self, later: Any) -> float:
        """Milliseconds from this event to `later`; both must have completed."""
        return float(self._event.elapsed_time(later._event))
