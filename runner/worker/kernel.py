"""What the kernel is asked for: who dies with whom, who adopts orphans, and what the memory killer did."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from runner.errors import UsageError
from runner.measure.cgroups import folders

LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def refuse(isolation: str) -> None:
    """Raise UsageError where this isolation does not work."""
    if sys.platform == "win32":
        raise UsageError("Windows is not supported: run under Linux (WSL will do)")
    if isolation == "fork" and not LINUX:
        raise UsageError("isolation=fork needs Linux: use isolation=spawn")


def die_with(parent: int) -> None:
    """Let the kernel kill this process when `parent`, which started it, dies."""
    if LINUX:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before we could ask


def outlive_parent() -> None:
    """Take `die_with` back."""
    if LINUX:
        _prctl(_PR_SET_PDEATHSIG, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that none escapes."""
    if LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def volunteer_for_oom() -> None:
    """Make this process the kernel's first choice when memory runs out: not the parent that writes the row."""
    adjustment = Path("/proc/self/oom_score_adj")
    if adjustment.exists():
        adjustment.write_text("1000")


def kill_group(pid: int) -> None:
    """SIGKILL the process `pid` and its group, whichever of them is still there."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a zombie
            kill(pid, signal.SIGKILL)


def children_of(pid: int) -> Iterator[int]:
    """Processes whose parent is `pid`. Empty without /proc."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # After the name, which may itself hold brackets: state and parent.
            if int(entry.read_text(errors="replace").rpartition(")")[2].split()[1]) == pid:
                yield int(entry.parent.name)


def oom_kills() -> int:
    """How many processes of this process' memory cgroup the kernel killed for want of memory; 0 where unknown."""
    # The counter of version 2, then that of version 1; of several cgroups, the innermost that has one.
    for path in (folder / name for folder in folders() for name in ("memory.events", "memory.oom_control")):
        if path.is_file():
            counts = dict(line.split()[:2] for line in path.read_text().splitlines() if len(line.split()) > 1)
            if "oom_kill" in counts:
                return int(counts["oom_kill"])
    return 0
