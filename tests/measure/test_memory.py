"""Peak memory against allocations of known size."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from runner.measure import memory

MIB = 2**20

PROGRAM = """
import sys
from pathlib import Path
from runner.measure.memory import peak_memory

class Cpu:
    def synchronize(self): pass
    def reset_peak_memory(self): pass
    def peak_memory_bytes(self): return None

def call():
    big = bytearray(200 * 2**20)
    big[::4096] = b"x" * len(big[::4096])
    del big
    return bytearray(50 * 2**20)

first = peak_memory(call, Cpu(), Path(sys.argv[1]))
again = peak_memory(call, Cpu(), Path(sys.argv[1]))
small = peak_memory(lambda: None, Cpu(), Path(sys.argv[1]))
print(first.method, first.bytes, again.bytes, small.bytes)
"""


HEAP = """
import sys
from pathlib import Path
from runner.measure.memory import peak_memory
from runner.measure.settings import Malloc

class Cpu:
    def synchronize(self): pass
    def reset_peak_memory(self): pass
    def peak_memory_bytes(self): return None

def block(mib):
    new = bytearray(mib * 2**20)
    new[::4096] = b"x" * len(new[::4096])
    return new

def call():
    first, second = block(20), block(20)
    del first
    return second, block(25)

del_me = block(31)
del del_me  # from here on blocks of up to 31 MiB lie on the heap
print(peak_memory(call, Cpu(), malloc=Malloc(sys.argv[1])).bytes)
"""


def peaks(process: str) -> tuple[str, int, int, int]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, process], check=True, capture_output=True, text=True)
    method, *sizes = done.stdout.split()
    first, again, small = map(int, sizes)
    return method, first, again, small


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux' clear_refs")
def test_the_high_water_mark_of_a_known_allocation() -> None:
    """200 MiB for a moment, in a fresh process: found to 2 MiB, repeatably; the mark of an earlier call is gone."""
    method, first, again, small = peaks("/proc/self")
    assert method == "vm_hwm"
    assert first == pytest.approx(200 * MIB, abs=2 * MIB)
    assert again == pytest.approx(first, abs=2 * MIB)
    assert small < 2 * MIB


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux' clear_refs")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_large_block_that_was_freed_before_changes_no_peak() -> None:
    """45 MiB are held at once; glibc's heap would count a hole of 20 MiB too, and does where it is left alone."""
    found = {}
    for word in ("no_trim", "inherit"):
        done = subprocess.run([sys.executable, "-c", HEAP, word], check=True, capture_output=True, text=True)
        found[word] = int(done.stdout)
    assert found["no_trim"] == pytest.approx(45 * MIB, abs=2 * MIB)
    assert found["inherit"] > 60 * MIB


def test_sampling_where_there_is_no_mark(tmp_path: Path) -> None:
    """Without clear_refs (gVisor, macOS) the resident size is sampled: what the call still holds at its end is seen."""
    method, first, again, _ = peaks(str(tmp_path))
    assert method == "rss_sampling"
    assert 49 * MIB < first < 210 * MIB
    assert 49 * MIB < again < 210 * MIB


def test_a_system_that_keeps_no_mark_is_sampled(tmp_path: Path) -> None:
    """A status without VmHWM is as good as none."""
    (tmp_path / "clear_refs").touch()
    (tmp_path / "status").write_text("VmRSS:\t  100 kB\n")

    assert memory.peak_memory(lambda: None, Device(None), tmp_path).method == "rss_sampling"


class Device:
    """A device whose counter reads `peak` after a call."""

    def __init__(self, peak: int | None) -> None:
        self.peak, self.log = peak, list[str]()

    def synchronize(self) -> None:
        self.log.append("sync")

    def reset_peak_memory(self) -> None:
        self.log.append("reset")

    def peak_memory_bytes(self) -> int | None:
        return self.peak


def test_an_accelerator_counts_itself() -> None:
    """Waited for, reset, run, waited for, read."""
    device = Device(12345)
    peak = memory.peak_memory(lambda: device.log.append("call"), device)
    assert (peak.bytes, peak.method) == (12345, "device")
    assert device.log == ["sync", "reset", "call", "sync"]


def test_the_sampler_ends_with_the_call() -> None:
    """Also when the call raises."""

    def fail() -> None:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        memory.peak_memory(fail, Device(None), Path("/nowhere"))
    assert not [t for t in memory.threading.enumerate() if t.name == "rss-sampler"]
