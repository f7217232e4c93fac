"""The CPU: work is not queued, and the high-water mark is the kernel's for this process."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from runner.devices import detect

if TYPE_CHECKING:
    from runner.devices import Event

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
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
        self._resident_at_reset = 0

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
        """Give free heap back to the kernel and forget the high-water mark (5 into clear_refs)."""
        self.empty_cache()
        if _CLEAR_REFS.exists():
            _CLEAR_REFS.write_text("5")
        self._resident_at_reset = _status_bytes("VmRSS") or 0

    def peak_memory_bytes(self) -> int | None:
        """How far resident memory rose above what it was at the reset; None where there is no /proc."""
        peak = _status_bytes("VmHWM")
        return None if peak is None else max(0, peak - self._resident_at_reset)

    def free_memory_bytes(self) -> int | None:
        """Memory that is available without swapping."""
        return int(psutil.virtual_memory().available)

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

    def facts(self) -> dict[str, Any]:
        """device_name."""
        return {"device_name": detect.cpu_name()}


def _status_bytes(key: str) -> int | None:
    if not _STATUS.exists():
        return None
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024


def _size(text: str) -> int:
    text = text.strip()
    return int(text[:-1]) * _UNITS[text[-1]] if text[-1] in _UNITS else int(text)
