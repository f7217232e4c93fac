"""A sweep of many no-op cells: time to the first job, overhead per job, memory of the process that launches them.

python benchmarks/sweep.py [NUMBER OF JOBS, default 1000] [LAUNCHER, default basic] [KEY=VALUE...]
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
#: One job per seed, each with the first of the no-op cells.
NOOP = ("--config-dir", str(HERE / "plugins" / "conf"), "--multirun", "experiment=noop", "select.include='^cell_000$'")


def launch(jobs: int, launcher: str, more: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """The sweep, in `folder`."""
    paths = [str(HERE.parent), str(HERE / "plugins"), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    words = (f"seed=range({jobs})", f"hydra.sweep.dir={folder}")
    own = () if launcher == "basic" else (f"hydra/launcher={launcher}",)
    with (folder.parent / "out.txt").open("wb") as out:
        command = [sys.executable, "-m", "runner", *NOOP, *words, *own, *more]
        return subprocess.Popen(command, env=env, stdout=out, stderr=out)


def watch(process: subprocess.Popen[bytes], rows: Path) -> tuple[list[float], list[int]]:
    """Seconds until each row was there since now, and the launching process's resident bytes then."""
    parent, began, times, memory = psutil.Process(process.pid), time.perf_counter(), [], []
    while process.poll() is None:
        number = rows.read_bytes().count(b"\n") - 1 if rows.exists() else 0
        now = time.perf_counter() - began
        while len(times) < number:
            times.append(now)
            memory.append(parent.memory_info().rss if parent.is_running() else memory[-1])
        time.sleep(0.02)
    return times, memory


def main() -> None:
    """Print the figures."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    launcher = sys.argv[2] if len(sys.argv) > 2 else "basic"
    with tempfile.TemporaryDirectory() as temporary:
        began = time.perf_counter()
        process = launch(jobs, launcher, sys.argv[3:], Path(temporary) / "sweep")
        times, memory = watch(process, Path(temporary) / "sweep" / "sweep.csv")
        total = time.perf_counter() - began
        assert process.returncode == 0, (Path(temporary) / "out.txt").read_text()[-2000:]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    early, late = memory[len(memory) // 10], memory[-1]
    print(f"{jobs} jobs, launcher {launcher}: {total:.1f} s, {total / jobs:.3f} s per job")
    print(f"first row after {times[0]:.1f} s, then one every {statistics.median(gaps):.3f} s (median)")
    print(f"launching process: {early / 1e6:.1f} MB after a tenth, {late / 1e6:.1f} MB at the end")


if __name__ == "__main__":
    main()
