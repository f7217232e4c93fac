"""Taming glibc's allocator."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from runner.measure import malloc
from runner.measure.settings import Malloc

FAULTS = """
import ctypes, resource, sys
from runner.measure import malloc
from runner.measure.settings import Malloc

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
SIZE = 100 * 2**20

def touch():
    p = libc.malloc(SIZE)
    ctypes.memset(p, 1, SIZE)
    libc.free(p)

applied = malloc.apply(Malloc(sys.argv[1]))
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touch()
print(applied, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")


def faults_with(choice: str) -> tuple[str, int]:
    done = subprocess.run([sys.executable, "-c", FAULTS, choice], check=True, capture_output=True, text=True)
    applied, faults = done.stdout.split()
    return applied, int(faults)


@on_glibc
def test_a_tamed_heap_keeps_its_pages() -> None:
    """The second 100 MiB block costs no page faults; with the defaults it does."""
    assert faults_with("no_trim")[0] == "no_trim"
    assert faults_with("no_trim")[1] < 50
    applied, faults = faults_with("inherit")
    assert applied == "inherit"
    assert faults >= 50


def test_a_preloaded_allocator_is_named_and_left_alone(tmp_path: Path) -> None:
    """Its library is among the process's mappings."""
    maps = tmp_path / "maps"
    maps.write_text("7f00-7f01 r-xp 00000000 08:01 1 /usr/lib/x86_64-linux-gnu/libjemalloc.so.2\n")
    assert malloc.apply(Malloc.no_trim, maps) == "jemalloc"
    assert not malloc.map_large(Malloc.no_trim, maps)


def test_other_libraries_say_nothing(tmp_path: Path) -> None:
    """Neither do missing mappings."""
    maps = tmp_path / "maps"
    maps.write_text("7f00-7f01 r-xp 00000000 08:01 1 /usr/lib/libc.so.6\n7f02-7f03 rw-p 0 0:0 0 \n")
    assert malloc.preloaded_allocator(maps) is None
    assert malloc.preloaded_allocator(tmp_path / "none") is None


def test_another_libc_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """musl and macOS: what is in force is `inherit`."""
    monkeypatch.setattr(malloc.platform, "libc_ver", lambda: ("", ""))
    assert malloc.apply(Malloc.no_trim, Path("/nowhere")) == "inherit"
    assert not malloc.map_large(Malloc.no_trim, Path("/nowhere"))
    malloc.trim()


def test_an_inherited_allocator_keeps_its_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of the library."""
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda _: pytest.fail("it was changed"))
    assert not malloc.map_large(Malloc.inherit)
