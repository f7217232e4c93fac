"""Folders in which compilers keep what they made: fresh ones, so that what is called cold is cold."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import psutil

#: Their names in the temporary directory; the number of the process that uses them follows.
CACHES = "runner-cache-"


@contextmanager
def fresh_caches() -> Iterator[str]:
    """An empty folder for `use_caches`, removed at the end."""
    remove_leftovers()
    # A compile worker may write to it until the end; what that leaves is removed by the next one.
    with TemporaryDirectory(prefix=f"{CACHES}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        yield folder


def remove_leftovers() -> None:
    """Remove caches whose process was killed before it could."""
    for folder in Path(gettempdir()).glob(f"{CACHES}*-*"):
        pid = folder.name.removeprefix(CACHES).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def use_caches(folder: str) -> None:
    """Let inductor and Triton keep what they compile in `folder`, from now on in this process."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/inductor"
    os.environ["TRITON_CACHE_DIR"] = f"{folder}/triton"
