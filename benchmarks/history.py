"""How long a history of a million results takes: `python benchmarks/history.py [--db URL] [--series N] [--runs N]`.

Made-up results of 1 000 series over 1 000 runs are added run by run, as a nightly job adds them; then a run is added
to all that, one model is asked for, and every series is searched for steps. One series in ten has one of 10 %.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from runner.history.database import opened
from runner.history.draw import step_lines
from runner.history.store import SERIES, RunFacts, Store
from runner.results.columns import Row

T = TypeVar("T")
NOISE, STEP, SE = 0.012, 0.10, 0.01


def facts(run: int) -> RunFacts:
    """What is kept of a run."""
    started = f"{2000 + run // 365}-{run % 365:03d}"
    return RunFacts(f"run {run}", "-", started, "speedup", "-", "2.13.0", f"{run:040x}", "node")


@cache
def key(series: int) -> tuple[str, ...]:
    """A series."""
    known = {"name": f"model_{series:05d}", "suite": "timm", "device_name": "GPU"}
    return tuple(known.get(name, "") for name in SERIES)


def rows(run: int, num_series: int, num_runs: int) -> Iterator[tuple[tuple[str, ...], Row]]:
    """The results of one run."""
    noise = np.random.default_rng(run).normal(0, NOISE, num_series)
    for series in range(num_series):
        stepped = series % 10 == 0 and run >= num_runs // 2
        speedup = float(np.exp(0.3 + noise[series] - STEP * stepped))
        yield key(series), {"cell_id": f"{series:012x}", "status": "ok", "speedup": speedup, "se_within": SE}


def timed(what: str, action: Callable[[], T]) -> T:
    """Do it and say how long it took."""
    started = time.perf_counter()
    result = action()
    print(f"{what}: {time.perf_counter() - started:.2f} s")
    return result


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--db", help="default: a temporary SQLite file")
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        where = given.db or str(Path(folder) / "history.sqlite")
        measure(where, given.series, given.runs)


def measure(where: str, num_series: int, num_runs: int) -> None:
    """Add, add once more, query, detect; each with a connection of its own, as commands have."""

    def add(runs: range) -> None:
        with opened(where, create=True) as database:
            store = Store(database, create=True)
            for run in runs:
                store.add_rows(facts(run), list(rows(run, num_series, num_runs)))

    def query() -> int:
        with opened(where, create=False) as database:
            return sum(len(series.points) for series in Store(database, create=False).series("model_00010"))

    def detect() -> int:
        with opened(where, create=False) as database:
            return len(list(step_lines(list(Store(database, create=False).series()), 0.03)))

    timed(f"add {num_series * num_runs} results", lambda: add(range(num_runs)))
    timed(f"add a run of {num_series} to them", lambda: add(range(num_runs, num_runs + 1)))
    timed("the same run again", lambda: add(range(num_runs, num_runs + 1)))
    print(f"{timed('query one model', query)} results")
    print(f"{timed('search all series', detect)} steps found, {-(-num_series // 10)} made")


if __name__ == "__main__":
    main()
