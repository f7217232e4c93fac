"""What changed around the measurement between its first and its last snapshot."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.measure.nvml import GpuState


@dataclass(frozen=True)
class Snapshot:
    """The environment at one moment; counters since boot or process start, None where there is no source."""

    at_ns: int = 0
    psi_us: int | None = None
    delay_ns: dict[int, int] = field(default_factory=dict)  # per thread: time spent waiting for a CPU
    helpers_ns: int | None = None  # CPU time of child processes and of Python's other threads
    own_cpu_s: float | None = None
    stolen_ticks: int | None = None
    total_ticks: int | None = None
    load1: float | None = None
    cpu_mhz: float | None = None
    governor: str | None = None
    gpu: GpuState | None = None


@dataclass(frozen=True)
class Environment:
    """Differences between the first and the last snapshot, as columns of the row; None where there is no source."""

    columns: dict[str, Any]
    helpers_pct: float | None


def environment(snapshots: Sequence[Snapshot], held_back: Iterable[str] = ()) -> Environment:
    """Columns from the snapshots (at least one) and from what was seen of the accelerator between them."""
    first, last = snapshots[0], snapshots[-1]
    wall_ns = last.at_ns - first.at_ns
    gpu = [snapshot.gpu for snapshot in snapshots if snapshot.gpu]
    columns = {
        "run_delay_pct": _percent(_longest_delay_ns(first, last), wall_ns),
        "psi_cpu_pct": _percent(_difference(first.psi_us, last.psi_us), wall_ns / 1000),
        "steal_pct": _percent(
            _difference(first.stolen_ticks, last.stolen_ticks),
            _difference(first.total_ticks, last.total_ticks),
        ),
        "load1": _foreign_load(first, last, wall_ns),
        "cpu_mhz": _median(s.cpu_mhz for s in snapshots),
        "governor": last.governor,
        "gpu_sm_mhz": _median(state.sm_mhz for state in gpu),
        "gpu_throttle": _reasons(gpu, held_back),
        "gpu_temp": max((s.temp_c for s in gpu if s.temp_c is not None), default=None),
        "gpu_shared": any(s.shared for s in gpu) if any(s.shared is not None for s in gpu) else None,
    }
    return Environment(columns, _percent(_difference(first.helpers_ns, last.helpers_ns), wall_ns))


def _difference(first: float | None, last: float | None) -> float | None:
    return None if first is None or last is None else last - first


def _percent(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else 100 * part / whole


def _longest_delay_ns(first: Snapshot, last: Snapshot) -> int | None:
    """Of the thread that waited longest: a parallel region ends when its slowest thread does."""
    both = first.delay_ns.keys() & last.delay_ns.keys()
    return max((last.delay_ns[tid] - first.delay_ns[tid] for tid in both), default=None)


def _foreign_load(first: Snapshot, last: Snapshot, wall_ns: int) -> float | None:
    """The load average without what this process itself contributed."""
    own_s = _difference(first.own_cpu_s, last.own_cpu_s)
    if last.load1 is None or own_s is None or not wall_ns:
        return None
    return max(0.0, last.load1 - own_s * 1e9 / wall_ns)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(statistics.median(known)) if known else None


def _reasons(gpu: Sequence[GpuState], held_back: Iterable[str]) -> str | None:
    seen = {*held_back, *(word for state in gpu for word in state.held_back)}
    return " ".join(sorted(seen)) if gpu or seen else None
