"""Does it matter to a model that its child is a fork? Compile time and eager's time, forked and in fresh interpreters.

PYTHONPATH=. python benchmarks/isolation.py [KEY=VALUE...]

The same model is compiled cold ten times in children of one server, then three times in a fresh interpreter each.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from runner.results.columns import Row
from runner.results.reader import read_run

#: Cells by the way they are kept apart. One sweep has one server; its jobs differ in the seed, not in the code.
CELLS = {"fork": 10, "spawn": 3}
COLUMNS = ("compile_s", "eager_latency")


def rows(isolation: str, more: Sequence[str]) -> list[Row]:
    """Rows of a sweep in the order in which its cells ran."""
    folder = tempfile.mkdtemp()
    own = ("model=mlp", f"isolation={isolation}", f"seed=range({CELLS[isolation]})", "measure=quick")
    command = [sys.executable, "-m", "runner", "--multirun", *own, *more, f"hydra.sweep.dir={folder}"]
    subprocess.run(command, check=True, capture_output=True)
    return list(read_run(Path(folder)).rows)


def main() -> None:
    """Print each cell, then the ratios: 1 means that it doesn't matter."""
    found = {isolation: rows(isolation, sys.argv[1:]) for isolation in CELLS}
    print("isolation  cell  compile_s  eager_latency ms")
    for isolation, cells in found.items():
        for number, row in enumerate(cells, 1):
            print(f"{isolation:9}  {number:4}  {row['compile_s']:9.2f}  {row['eager_latency']:16.4f}")
    for column in COLUMNS:
        forked, spawned = ([row[column] for row in found[isolation]] for isolation in CELLS)
        apart = statistics.median(spawned) / statistics.median(forked)
        print(f"{column}: tenth/first {forked[9] / forked[0]:.3f}, spawn/fork (medians) {apart:.3f}")


if __name__ == "__main__":
    main()
