"""glibc's allocator: keep freed pages in the process, so that a measurement is not one of page faults."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

from runner.measure.settings import Malloc

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # from malloc.h
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
