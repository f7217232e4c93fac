"""What a cell costs beyond its own work: forked against a fresh interpreter, start-up times, the parent's memory.

python benchmarks/overhead.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import psutil

HERE = Path(__file__).parent
NOOP = ("--config-dir", str(HERE / "plugins" / "conf"), "experiment=noop")
LIMITS = {"fork": 0.3, "--cfg job": 0.4, "--help": 0.8}


def environment() -> dict[str, str]:
    """The checkout and the benchmark's own plug-in can be imported."""
    paths = [str(HERE.parent), str(HERE / "plugins")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def start(*arguments: str) -> subprocess.Popen[str]:
    """A runner whose plain progress lines can be read."""
    command = [sys.executable, "-m", "runner", *arguments, f"hydra.run.dir={tempfile.mkdtemp()}"]
    return subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def cells(isolation: str, cells: int) -> tuple[list[float], list[int]]:
    """Seconds between the rows of no-op cells after the first, and the parent's resident bytes at each."""
    process = start(*NOOP, f"isolation={isolation}", f"select.shard=1/{200 // cells}")
    assert process.stderr is not None
    parent, times, memory = psutil.Process(process.pid), [], []
    for line in process.stderr:
        if line.startswith("["):
            times.append(time.perf_counter())
            memory.append(parent.memory_info().rss)
    assert process.wait() == 0
    return [later - earlier for earlier, later in pairwise(times)], memory


def seconds(*arguments: str) -> float:
    """Median wall time of five starts."""
    found = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "runner", *arguments], env=environment(), capture_output=True, check=True)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def main() -> None:
    """Print the figures beside their limits."""
    forked, memory = cells("fork", 200)
    spawned, _ = cells("spawn", 10)
    fork, spawn = statistics.median(forked), statistics.median(spawned)
    print(f"no-op cell, forked:            {fork:.3f} s median of {len(forked)} (at most {LIMITS['fork']})")
    print(f"no-op cell, fresh interpreter: {spawn:.3f} s median of {len(spawned)}, {spawn / fork:.1f} times as much")
    for arguments in (("--cfg", "job"), ("--help",)):
        name = " ".join(arguments)
        print(f"{name + ':':31}{seconds(*arguments):.3f} s median of 5 (at most {LIMITS[name]})")
    growth = (memory[-1] - memory[10]) / 1e6
    print(f"parent's resident memory:      {memory[10] / 1e6:.1f} MB after 11 cells, {growth:+.1f} MB after 200")


if __name__ == "__main__":
    main()
