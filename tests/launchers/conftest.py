"""Sweeps of the toys' bad models under a launcher."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from runner.results.reader import read_run


@pytest.fixture(scope="session")
def bad_sweep(toys: tuple[str, str]) -> Any:
    """`bad_sweep(launcher, *words)`: the words of a sweep over models of suite bad, into the folder `out`."""

    def words(launcher: str, models: str, *more: str) -> tuple[str, ...]:
        own = ("--multirun", "suite=bad", "experiment=toy", f"model={models}", "hydra.sweep.dir=out")
        return (*toys, *own, f"hydra/launcher={launcher}", *more)

    return words


@pytest.fixture(scope="session")
def statuses() -> Any:
    """`statuses(folder)`: name -> status, from the jobs' rows and from sweep.csv, which must say the same."""

    def read(folder: Path) -> dict[str, str]:
        found = sorted((row["name"], row["status"]) for row in read_run(folder).rows)
        with (folder / "sweep.csv").open(newline="") as file:
            assert sorted((row["name"], row["status"]) for row in csv.DictReader(file)) == found
        return dict(found)

    return read
