"""NVIDIA's management library through pynvml: which GPUs there are, without torch and without touching them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Gpu:
    """One physical GPU; `index` is the driver's, `memory_bytes` what it has in all, None where it doesn't tell."""

    index: int
    uuid: str
    name: str
    memory_bytes: int | None


@functools.cache
def gpus() -> tuple[Gpu, ...]:
    """All GPUs of the machine in the driver's order; none where there is no driver."""
    with _library() as lib:
        if lib is None:
            return ()
        return tuple(_gpu(lib, index) for index in range(lib.nvmlDeviceGetCount()))


@functools.cache
def driver_version() -> str | None:
    """Version of the driver, or None where there is none."""
    with _library() as lib:
        return None if lib is None else str(lib.nvmlSystemGetDriverVersion())


def processes(uuid: str) -> list[int]:
    """Numbers of the processes that compute on the GPU with this UUID; none where the driver doesn't tell."""
    if not any(gpu.uuid == uuid for gpu in gpus()):
        return []
    with _library() as lib:
        assert lib is not None
        handle = lib.nvmlDeviceGetHandleByUUID(uuid)
        try:
            found = lib.nvmlDeviceGetComputeRunningProcesses(handle)
        except lib.NVMLError:
            return []
        return [int(process.pid) for process in found]


def _gpu(lib: ModuleType, index: int) -> Gpu:
    handle = lib.nvmlDeviceGetHandleByIndex(index)
    uuid, name = str(lib.nvmlDeviceGetUUID(handle)), str(lib.nvmlDeviceGetName(handle))
    return Gpu(index, uuid, name, _memory_bytes(lib, handle))


def _memory_bytes(lib: ModuleType, handle: object) -> int | None:
    """A GPU that shares the host's memory has none of its own to tell of."""
    try:
        return int(lib.nvmlDeviceGetMemoryInfo(handle).total)
    except lib.NVMLError:
        return None


@contextmanager
def _library() -> Iterator[ModuleType | None]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()
