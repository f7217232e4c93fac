"""The memory cgroups of this process: what a container or a batch system leaves of the machine's memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath

#: Files of a limit and of what is in use, and the cache in it that can be dropped: of version 2, then of version 1.
#: Version 1 counts descendants in what is in use, and in memory.stat only under names of their own.
_COUNTERS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def folders(root: Path = Path("/")) -> Iterator[Path]:
    """Where the process's own memory cgroup may be, then those it lies in, up to what can be seen from here.

    Of version 1 or 2, from the host or from within a container, where its own path may not be there.
    """
    own, mount = root / "proc/self/cgroup", root / "sys/fs/cgroup"
    lines = own.read_text().splitlines() if own.exists() else []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if not controllers or "memory" in controllers.split(","):
            inner = PurePath(path.lstrip("/"))
            top = mount / "memory" if controllers else mount
            yield from (top / place for place in (inner, *inner.parents))


def free_bytes(root: Path = Path("/")) -> int:
    """Memory that is available without swapping, and without the kernel's killing for a limit of a cgroup."""
    import psutil

    left = (left for folder in folders(root) for left in _left(folder))
    return max(0, min([int(psutil.virtual_memory().available), *left]))


def _left(folder: Path) -> Iterator[int]:
    """What the limit of one cgroup leaves; nothing where it has none."""
    for limit, used, cache in _COUNTERS:
        allowed = _text(folder / limit).strip()
        if allowed.isdecimal():  # version 2 says max for none; version 1 a number that exceeds any memory
            facts = dict(line.split()[:2] for line in _text(folder / "memory.stat").splitlines())
            yield int(allowed) - int(_text(folder / used)) + int(facts.get(cache, 0))


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""
