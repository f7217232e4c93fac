"""One child at a time measures on a device: locks that the kernel releases when their holder dies.

An accelerator is leased exclusively, with a share of its CPUs; a CPU measurement takes its CPUs exclusively, and so
does whoever names them with device.cpus. So measurements on disjoint CPUs, or on different accelerators, run side by
side, and nothing disturbs a CPU measurement. A lease is all or nothing, also of several devices.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, cast

from runner.devices import detect, nvml
from runner.errors import UsageError
from runner.measure.tuning import format_cpu_list

#: Seconds between two attempts to get a device that another process holds.
POLL_S = 0.2


@dataclass(frozen=True)
class Lock:
    """One file to lock; `label` is what the user calls the device."""

    key: str
    label: str
    shared: bool = False


@dataclass(frozen=True)
class Choice:
    """One way to satisfy a request: these locks, then the cell's device node and environment are these."""

    locks: tuple[Lock, ...]
    device: Mapping[str, Any]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lease:
    """Devices that are ours until the context ends: the device node for the child, and what its environment needs.

    `flags` are words for the row: another program computes on the device.
    """

    device: Mapping[str, Any]
    env: Mapping[str, str]
    flags: tuple[str, ...] = ()


@contextmanager
def lease(  # noqa: PLR0913 - the last two are for few
    node: Mapping[str, Any],
    cpus: Sequence[int] | Sequence[Sequence[int]],
    on_wait: Callable[[str], None],
    check: Callable[[], None],
    own_process: bool = True,
    *,
    count: int = 1,
) -> Iterator[Lease]:
    """Hold the device of a cell, or `count` devices.

    `node` is the cell's device node with `type` resolved, `cpus` the CPUs it computes on, or several sets of which
    any one will do. While another process holds the device, `on_wait` is told so whenever the holder changes, and
    `check` is called again and again: it may raise. `own_process` False is for isolation=none, where the environment
    can't choose the device any more.
    """
    several = bool(cpus) and not isinstance(cpus[0], int)
    sets = cast("Sequence[Sequence[int]]", cpus if several else [cpus])
    choices = [
        choice
        for chosen in sets
        for choice in _choices(
            {**node, "cpus": format_cpu_list(chosen)} if len(sets) > 1 else node, chosen, own_process, count
        )
    ]
    held, choice = _wait(choices, on_wait, check)
    try:
        yield Lease(choice.device, choice.env, _flags(choice))
    finally:
        _release(held)


def _flags(choice: Choice) -> tuple[str, ...]:
    """Nothing of ours computes on a device that was leased just now: who does is somebody else."""
    busy = any(nvml.processes(lock.key) for lock in choice.locks)
    return ("gpu_in_use",) if busy else ()


def _choices(node: Mapping[str, Any], cpus: Sequence[int], own_process: bool, count: int) -> list[Choice]:
    if node["type"] == "cpu":
        return [Choice(tuple(_cpu_locks(cpus, shared=False)), node)]
    tokens = detect.visible(node["type"])
    index = node.get("index")
    last = (index or 0) + count - 1
    if last >= len(tokens) and (index is not None or count > 1):
        # The child says what torch sees; until then the device is held under the name it was given.
        tokens = [str(i) for i in range(last + 1)]
    free = range(max(1, len(tokens)))
    wanted = list(combinations(free, count)) if index is None else [tuple(range(index, last + 1))]
    share = tuple(_cpu_locks(cpus, shared=node.get("cpus") is None))
    return [_accelerators(node, tokens, indices, share, own_process) for indices in wanted]


def _accelerators(
    node: Mapping[str, Any], tokens: list[str], indices: tuple[int, ...], share: tuple[Lock, ...], own_process: bool
) -> Choice:
    kind = node["type"]
    chosen = [tokens[index] if index < len(tokens) else str(index) for index in indices]
    locks = (Lock(detect.identity(kind, token), f"{kind}:{i}") for i, token in zip(indices, chosen, strict=True))
    variable = detect.VISIBLE_VARIABLE.get(kind)
    if variable is None:
        return Choice((*share, *locks), node)  # we know too little of its devices to choose one
    if not own_process or indices[-1] >= len(detect.visible(kind)):
        return Choice((*share, *locks), {**node, "index": indices[0]})
    return Choice((*share, *locks), {**node, "index": 0}, {variable: ",".join(chosen)})


def _cpu_locks(cpus: Iterable[int], shared: bool) -> Iterator[Lock]:
    return (Lock(f"cpu-{cpu:04d}", f"CPU {cpu}", shared) for cpu in sorted(cpus))


def _wait(choices: list[Choice], on_wait: Callable[[str], None], check: Callable[[], None]) -> tuple[list[int], Choice]:
    """The first choice whose locks are all free. All or nothing, so that nobody waits while holding: no deadlock."""
    said = ""
    while True:
        for choice in choices:
            held, missing = _try(choice.locks)
            if missing is None:
                return held, choice
        assert missing is not None
        message = f"waiting for {missing.label}, held by {_holder(missing)}"
        if message != said:
            on_wait(message)
            said = message
        check()
        time.sleep(POLL_S)


def _try(locks: Iterable[Lock]) -> tuple[list[int], Lock | None]:
    """File descriptors of all locks, or the first lock that somebody else holds."""
    held: list[int] = []
    for lock in locks:
        descriptor = _lock(lock)
        if descriptor is None:
            _release(held)
            return [], lock
        held.append(descriptor)
    return held, None


def _lock(lock: Lock) -> int | None:
    import fcntl

    path = _path(lock)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if lock.shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if not path.exists() or path.stat().st_ino != os.fstat(descriptor).st_ino:
        os.close(descriptor)  # somebody cleaned the folder meanwhile: lock the new file
        return _lock(lock)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"pid {os.getpid()}".encode(), 0)
    return descriptor


def _release(held: Iterable[int]) -> None:
    for descriptor in held:
        os.close(descriptor)


def _holder(lock: Lock) -> str:
    """The process that wrote its number into the lock file last."""
    text = _path(lock).read_text(errors="replace") if _path(lock).exists() else ""
    return text or "another process"


def _path(lock: Lock) -> Path:
    return folder() / f"{lock.key.replace('/', '-')}.lock"


def folder() -> Path:
    """Where this user's locks are: under the temporary directory.

    Not under XDG_RUNTIME_DIR: it differs between a login and a batch job of one user, and goes with the last login.
    """
    path = Path(tempfile.gettempdir()) / f"torch-benchmark-runner-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise UsageError(f"{path} belongs to somebody else: remove it, or point TMPDIR elsewhere")
    return path
