"""The CPU: work is not queued, and memory is the process's own."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.devices import detect
from runner.measure.cgroups import free_bytes

if TYPE_CHECKING:
    from runner.devices import Event

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"K": 1 << 10, "M": 1 << 20}


@dataclass
class Cpu:
    """The CPUs of this machine; there is one such device, `index` is refused."""

    type: str = "cpu"
    index: int | None = None
    cpus: str | None = None

    def __post_init__(self) -> None:
        if self.index is not None:
            raise ValueError(f"device.index={self.index}: there is one CPU device; choose CPUs with device.cpus=0-3")

    @property
    def torch_name(self) -> str:
        """`cpu`."""
        return "cpu"

    def check(self) -> None:
        """There is always a CPU."""

    def synchronize(self) -> None:
        """Nothing is queued."""

    def event(self) -> Event | None:
        """None: the wall clock is exact here."""
        return None

    def reset_peak_memory(self) -> None:
        """Nothing to forget."""

    def peak_memory_bytes(self) -> None:
        """None: the kernel counts for the whole process, see `runner.measure.memory`."""

    def free_memory_bytes(self) -> int | None:
        """Memory that is available without swapping, within the limits of a container or a batch system."""
        return free_bytes()

    def empty_cache(self) -> None:
        """malloc_trim(0), where the C library has it."""
        if sys.platform == "linux":
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # absent from musl
            if trim is not None:
                trim(0)

    def l2_bytes(self) -> int | None:
        """Size of the last-level cache."""
        sizes = [_size(path.read_text()) for path in _CACHES.glob("index*/size")]
        return max(sizes, default=None)

    def graphed(self, call: Callable[[], Any]) -> None:
        """There are none."""

    def facts(self) -> dict[str, Any]:
        """device_name."""
        return {"device_name": detect.cpu_name()}


def _size(text: str) -> int:
    text = text.strip()
    return int(text[:-1]) * _UNITS[text[-1]] if text[-1] in _UNITS else int(text)
