"""Runs of their own whose only purpose is a file: a chrome trace, a memory history."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import Unsupported

if TYPE_CHECKING:
    from runner.devices import Device

TRACED_CALLS = 3
MEMORY_ENTRIES = 100_000


def trace(call: Callable[[], Any], path: Path) -> None:
    """Write a chrome trace of a few calls."""
    from torch.profiler import profile

    with profile(record_shapes=True) as profiler:
        for _ in range(TRACED_CALLS):
            call()
    profiler.export_chrome_trace(str(path))


def memory_of(device: Device) -> Any:
    """Torch's module that keeps the history of the device's allocations. Raises Unsupported where there is none."""
    import torch

    memory = getattr(torch.get_device_module(device.type), "memory", None)
    if not hasattr(memory, "_record_memory_history"):
        raise Unsupported(f"experiment.memory_snapshot: torch keeps no memory history on {device.type}; use it on cuda")
    return memory


def memory_snapshot(call: Callable[[], Any], device: Device, path: Path) -> None:
    """Write the history of the device's allocations during one call, for pytorch.org/memory_viz."""
    memory = memory_of(device)
    memory._record_memory_history(max_entries=MEMORY_ENTRIES)
    try:
        call()
        device.synchronize()
        memory._dump_snapshot(str(path))
    finally:
        memory._record_memory_history(enabled=None)
