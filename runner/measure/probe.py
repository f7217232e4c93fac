"""What went on around the measurement: pressure, preemption, steal, load, clocks, a canary, the GPU.

Everything comes from below an injected root; a source that is missing leaves its field empty and is never an error.
"""

from __future__ import annotations

import math
import os
import resource
import statistics
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from runner.measure.clock import Clock
from runner.measure.environment import Snapshot
from runner.measure.nvml import Nvml

CANARY_CALLS = 5


class Probe(Protocol):
    """What the engine asks about its surroundings."""

    threads: int  # that the measured code computes with
    cores: int  # that the process may use

    def counters(self) -> tuple[float, float]:
        """Minor page faults and involuntary context switches of this process so far; nan where unknown."""
        ...

    def snapshot(self) -> Snapshot:
        """The environment now."""
        ...

    def canary_ms(self) -> float | None:
        """Median time of the canary's calls now."""
        ...

    def held_back(self) -> frozenset[str]:
        """Reasons why the accelerator runs slower than it should right now."""
        ...


class NoProbe:
    """Sees nothing; every field it feeds stays empty."""

    threads = 1
    cores = 1

    def counters(self) -> tuple[float, float]:
        """Unknown."""
        return math.nan, math.nan

    def snapshot(self) -> Snapshot:
        """An empty one."""
        return Snapshot()

    def canary_ms(self) -> None:
        """No canary."""
        return

    def held_back(self) -> frozenset[str]:
        """No reasons."""
        return frozenset()


def python_threads() -> list[int]:
    """Kernel ids of Python's threads other than the calling one."""
    here = threading.get_native_id()
    return [t.native_id for t in threading.enumerate() if t.native_id not in (None, here)]


@dataclass
class HostProbe:
    """The real probe.

    `canary` is a fixed piece of work of about 5 ms that ends synchronised (see `matmul_canary`); `gpu` from
    `open_nvml`.
    """

    clock: Clock
    threads: int = 1
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    root: Path = Path("/")
    canary: Callable[[], Any] | None = None
    gpu: Nvml | None = None
    helper_threads: Callable[[], Iterable[int]] = python_threads

    def counters(self) -> tuple[float, float]:
        """From getrusage: all threads of this process."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_minflt, usage.ru_nivcsw

    def snapshot(self) -> Snapshot:
        """Read every source once; well under a millisecond for a process with few threads."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        tasks = self._tasks("self")
        stolen, total = self._stat()
        return Snapshot(
            at_ns=self.clock.now_ns(),
            psi_us=self._psi_us(),
            delay_ns={tid: delay for tid, (_, delay) in tasks.items()},
            helpers_ns=self._helpers_ns(tasks) if tasks else None,
            own_cpu_s=usage.ru_utime + usage.ru_stime,
            stolen_ticks=stolen,
            total_ticks=total,
            load1=self._load1(),
            cpu_mhz=self._cpu_mhz(),
            governor=self._governor(),
            gpu=self.gpu.state() if self.gpu else None,
        )

    def canary_ms(self) -> float | None:
        """Median of five calls, after one that is not counted."""
        if self.canary is None:
            return None
        self.canary()
        return statistics.median(self._canary_once_ms(self.canary) for _ in range(CANARY_CALLS))

    def _canary_once_ms(self, canary: Callable[[], Any]) -> float:
        began = self.clock.now_ns()
        canary()
        return (self.clock.now_ns() - began) / 1e6

    def held_back(self) -> frozenset[str]:
        """From NVML, or nothing."""
        return self.gpu.held_back() if self.gpu else frozenset()

    def _read(self, path: str) -> str:
        try:
            return (self.root / path).read_text()
        except OSError:
            return ""

    def _psi_us(self) -> int | None:
        for line in self._read("proc/pressure/cpu").splitlines():
            if line.startswith("some "):
                return int(line.rpartition("total=")[2])
        return None

    def _tasks(self, pid: str) -> dict[int, tuple[int, int]]:
        """Per thread: ns on a CPU, ns waiting for one."""
        folder = self.root / "proc" / pid / "task"
        found: dict[int, tuple[int, int]] = {}
        for tid in _names(folder):
            parts = self._read(f"proc/{pid}/task/{tid}/schedstat").split()
            if len(parts) == 3:
                found[int(tid)] = (int(parts[0]), int(parts[1]))
        return found

    def _helpers_ns(self, tasks: dict[int, tuple[int, int]]) -> int:
        threads = sum(tasks[tid][0] for tid in self.helper_threads() if tid in tasks)
        children = {pid for tid in tasks for pid in self._read(f"proc/self/task/{tid}/children").split()}
        return threads + sum(run for pid in children for run, _ in self._tasks(pid).values())

    def _stat(self) -> tuple[int | None, int | None]:
        """Stolen and all ticks of all CPUs."""
        first = self._read("proc/stat").partition("\n")[0].split()
        if first[:1] != ["cpu"] or len(first) < 9:
            return None, None
        ticks = [int(value) for value in first[1:9]]  # guest time, after these, is in user time already
        return ticks[7], sum(ticks)

    def _load1(self) -> float | None:
        text = self._read("proc/loadavg").split()
        return float(text[0]) if text else None

    def _cpu_mhz(self) -> float | None:
        khz = self._read("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").strip()
        if khz.isdecimal():
            return int(khz) / 1000
        return _first_cpu_mhz(self.root / "proc/cpuinfo")

    def _governor(self) -> str | None:
        cpu = "sys/devices/system/cpu"
        name = self._read(f"{cpu}/cpu0/cpufreq/scaling_governor").strip()
        no_turbo = self._read(f"{cpu}/intel_pstate/no_turbo").strip() == "1"
        no_boost = self._read(f"{cpu}/cpufreq/boost").strip() == "0"
        return f"{name} no_turbo".strip() if no_turbo or no_boost else name or None


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def _first_cpu_mhz(cpuinfo: Path) -> float | None:
    # Not read to its end: that is slow where there are hundreds of CPUs.
    try:
        with cpuinfo.open() as lines:
            found = next((line for line in lines if line.startswith("cpu MHz")), "")
    except OSError:
        return None
    return float(found.rpartition(":")[2]) if found else None


def matmul_canary(device: str, sync: Callable[[], None]) -> Callable[[], Any]:
    """A matrix product of fixed size on `device` that ends synchronised; a few ms on one core or on an accelerator.

    The size does not follow the machine's speed, so that canaries of two machines can be compared.
    """
    import torch

    size, repeats = (512, 1) if device == "cpu" else (2048, 8)
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator).to(device) for _ in range(2))
    out = torch.empty_like(a)

    def canary() -> None:
        with torch.no_grad():
            for _ in range(repeats):
                torch.mm(a, b, out=out)
        sync()

    return canary
