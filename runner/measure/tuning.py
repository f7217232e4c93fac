"""How many threads, on which CPUs: decided from the affinity mask and the CPU topology, without torch."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

INHERIT = "inherit"
NUMA = "numa"


@dataclass(frozen=True)
class Tuning:
    """Threads to compute with, and CPUs to run on; `cpus` is None where the process is left as it is."""

    threads: int
    cpus: tuple[int, ...] | None

    @property
    def affinity(self) -> str:
        """For the row: the CPU list that the process is pinned to, or `inherit`."""
        return INHERIT if self.cpus is None else format_cpu_list(self.cpus)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that a process must have before torch starts."""
        return {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}

    def pin(self) -> None:
        """Pin the calling process; before its first helper thread starts, since threads inherit the mask."""
        if self.cpus is not None:
            os.sched_setaffinity(0, self.cpus)


def tune(threads: int | None, affinity: str, root: Path = Path("/")) -> Tuning:
    """Resolve `measure.threads` and `measure.affinity` against this process's mask.

    Without a list, a mask with more CPUs than threads is narrowed to one CPU of each physical core first, so that
    threads do not share a core. Raises ValueError when a list or a number of threads exceeds what the mask allows.
    """
    mask = available_cpus()
    chosen = mask if affinity == INHERIT else _within(parse_cpu_list(affinity), mask)
    cores = physical_cores(chosen, root)
    count = len(cores) if threads is None else threads
    if count > len(chosen):
        raise ValueError(
            f"measure.threads is {count} but only CPUs {format_cpu_list(chosen)} may be used: "
            f"ask for at most {len(chosen)}"
        )
    if affinity != INHERIT:
        return Tuning(count, chosen)
    return Tuning(count, _spread(cores, count) if _can_pin() and len(chosen) > count else None)


def available_cpus() -> tuple[int, ...]:
    """CPUs that this process may run on."""
    if _can_pin():
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _can_pin() -> bool:
    return hasattr(os, "sched_setaffinity")  # absent on macOS


def _within(wanted: tuple[int, ...], mask: tuple[int, ...]) -> tuple[int, ...]:
    if not _can_pin():
        raise ValueError("measure.affinity needs Linux: leave it at inherit here")
    if not set(wanted) <= set(mask):
        raise ValueError(
            f"measure.affinity is {format_cpu_list(wanted)} but this process may only use CPUs {format_cpu_list(mask)}"
        )
    return wanted


def physical_cores(cpus: Iterable[int], root: Path = Path("/")) -> list[tuple[int, ...]]:
    """CPUs grouped by the physical core they belong to; each its own core where the system does not say."""
    cores: dict[tuple[int, ...], list[int]] = {}
    for cpu in sorted(cpus):
        cores.setdefault(_siblings(cpu, root), []).append(cpu)
    return [tuple(members) for members in cores.values()]


def _siblings(cpu: int, root: Path) -> tuple[int, ...]:
    path = root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
    try:
        return parse_cpu_list(path.read_text())
    except OSError:
        return (cpu,)


def _spread(cores: list[tuple[int, ...]], count: int) -> tuple[int, ...]:
    # The first CPU of every core before the second of any.
    by_turn = sorted((turn, cpu) for core in cores for turn, cpu in enumerate(core))
    return tuple(sorted(cpu for _, cpu in by_turn[:count]))


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """`0-3,8` to (0, 1, 2, 3, 8). Raises ValueError for anything else, with the form that is expected."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or int(last or first) < int(first):
            raise ValueError(f"measure.affinity is {text.strip()!r}: it must be inherit, or a list of CPUs as in 0-3,8")
        cpus.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(cpus))


def cpu_sets(text: str, root: Path = Path("/")) -> list[tuple[int, ...]]:
    """The CPU lists that `0-7|8-15`, or `numa` (those of the NUMA nodes that this process may use), stands for."""
    if text != NUMA:
        return [parse_cpu_list(part) for part in text.split("|")]
    files = sorted((root / "sys/devices/system/node").glob("node[0-9]*/cpulist"))
    mask = set(available_cpus())
    found = [tuple(sorted(mask & set(parse_cpu_list(f.read_text())))) for f in files if f.read_text().strip()]
    return [cpus for cpus in found if cpus] or [available_cpus()]


def format_cpu_list(cpus: Iterable[int]) -> str:
    """(0, 1, 2, 3, 8) to `0-3,8`."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
