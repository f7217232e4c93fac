"""Peak memory of a callable, in a phase of its own: the device's counter, or the process's true high-water mark."""

from __future__ import annotations

import gc
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from runner.measure.cgroups import free_bytes
from runner.measure.malloc import map_large, trim
from runner.measure.settings import Malloc

#: How often the resident size is read where the kernel keeps no mark that can be reset.
SAMPLE_INTERVAL_S = 0.001
#: Of the memory that is free, what this process may take while `no_overcommit` holds.
FREE_SHARE = 0.95


class PeakCounter(Protocol):
    """A device that may count its own peak."""

    def synchronize(self) -> None:
        """Wait until all queued work is done."""
        ...

    def reset_peak_memory(self) -> None:
        """Forget the high-water mark."""
        ...

    def peak_memory_bytes(self) -> int | None:
        """High-water mark since the reset, or None where the device keeps none."""
        ...


@dataclass(frozen=True)
class Peak:
    """Peak memory and how it was found.

    `device`: everything allocated on the device, weights included. `vm_hwm`, `rss_sampling`: what the call added to
    the process's resident memory; sampling can miss a peak shorter than a millisecond.
    """

    bytes: int
    method: str


def peak_memory(
    call: Callable[[], Any],
    device: PeakCounter,
    process: Path = Path("/proc/self"),
    malloc: Malloc = Malloc.inherit,
) -> Peak:
    """Run `call` once and find its peak. Before the allocator is tamed: a tamed heap inflates the peak.

    So does glibc's own, from run to run otherwise, unless `malloc` allows to set it up for this.
    """
    gc.collect()
    device.synchronize()
    device.reset_peak_memory()
    if device.peak_memory_bytes() is None:
        map_large(malloc)
        return _resident_peak(call, process)
    out = call()
    device.synchronize()
    peak = device.peak_memory_bytes() or 0
    del out
    return Peak(peak, "device")


def _resident_peak(call: Callable[[], Any], process: Path) -> Peak:
    trim()
    if not _reset_high_water_mark(process):
        return _sampled_peak(call, resident_bytes)
    before = _status_bytes(process, "VmRSS")
    out = call()
    peak = _status_bytes(process, "VmHWM")
    del out
    return Peak(max(0, peak - before), "vm_hwm")


def _reset_high_water_mark(process: Path) -> bool:
    """Reset VmHWM to the present size. False where the system has no such thing (gVisor, macOS)."""
    try:
        (process / "clear_refs").write_text("5")
        return "VmHWM:" in (process / "status").read_text()
    except OSError:
        return False


def _status_bytes(process: Path, name: str) -> int:
    for line in (process / "status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise ValueError(f"{process}/status has no {name}")


def resident_bytes() -> int:
    """Resident memory of this process."""
    import psutil

    return int(psutil.Process().memory_info().rss)


@contextmanager
def no_overcommit() -> Iterator[None]:
    """Let allocations fail that there is no memory for, on the machine or within a limit of its cgroup.

    Without it Linux grants them, and kills later. For work that can be done without. Elsewhere it does nothing.
    """
    statm = Path("/proc/self/statm")
    if not statm.exists():
        yield
        return
    private = int(statm.read_text().split()[5]) * resource.getpagesize()  # what RLIMIT_DATA counts
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = private + int(free_bytes() * FREE_SHARE)
    known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(allowed, *known), hard) if known else (allowed, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _sampled_peak(call: Callable[[], Any], resident: Callable[[], int]) -> Peak:
    done = threading.Event()
    before = resident()
    seen = [before]

    def sample() -> None:
        while not done.wait(SAMPLE_INTERVAL_S):
            seen.append(resident())

    sampler = threading.Thread(target=sample, name="rss-sampler", daemon=True)
    sampler.start()
    try:
        out = call()
        seen.append(resident())
        del out
    finally:
        done.set()
        sampler.join()
    return Peak(max(seen) - before, "rss_sampling")
