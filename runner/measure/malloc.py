"""glibc's allocator: keep freed pages in the process, so that a measurement is not one of page faults."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

from runner.measure.settings import Malloc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # from malloc.h
#: glibc's own values at a process's start; the threshold rises to the size of the largest mapping that was freed.
_MMAP_THRESHOLD_BYTES, _MMAP_MAX = 128 * 1024, 65536
_PRELOADED = ("jemalloc", "tcmalloc", "mimalloc")


def apply(malloc: Malloc, maps: Path = Path("/proc/self/maps")) -> str:
    """Set the allocator up for measuring; returns what is in force, for the row.

    `no_trim` where that was asked for and glibc obeyed, the name of a preloaded allocator, which is left alone, or
    `inherit`. Cannot be undone in this process. After the memory phase, before the warm-up.
    """
    preloaded = preloaded_allocator(maps)
    if preloaded:
        return preloaded
    if malloc is Malloc.no_trim and _keep_freed_pages():
        return Malloc.no_trim.value
    return Malloc.inherit.value


def map_large(malloc: Malloc, maps: Path = Path("/proc/self/maps")) -> bool:
    """Give each large block a mapping of its own until `apply`, so that a peak is that of the blocks, not of a heap.

    Where `no_trim` was asked for and glibc is in force; returns whether it obeyed. Also cannot be undone: to fix the
    threshold ends its rising. `apply` puts an end to mappings, hence to what it means.
    """
    if malloc is not Malloc.no_trim or preloaded_allocator(maps) or not _is_glibc():
        return False
    libc = ctypes.CDLL(None)
    fixed = libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
    return bool(fixed and libc.mallopt(_M_MMAP_MAX, _MMAP_MAX))  # 0 after an earlier cell of this process


def preloaded_allocator(maps: Path = Path("/proc/self/maps")) -> str | None:
    """Name of an allocator library that is mapped into this process in glibc's place."""
    try:
        libraries = {Path(line.split()[-1]).name for line in maps.read_text().splitlines() if ".so" in line}
    except OSError:
        return None
    return next((name for name in _PRELOADED if any(name in library for library in libraries)), None)


def _keep_freed_pages() -> bool:
    if not _is_glibc():
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_M_TRIM_THRESHOLD, -1) and libc.mallopt(_M_MMAP_MAX, 0))


def trim() -> None:
    """Give free pages back to the system where the allocator can."""
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
