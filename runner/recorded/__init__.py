"""Facts about the suites' models that were measured once and are kept in the package: eager times, parameter counts.

`python -m runner.recorded.make` writes the tables beside this file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

STEPS = Path(__file__).parent / "eager_steps.csv"
PARAMETERS = Path(__file__).parent / "parameters.csv"


def eager_seconds(suite: str, device: str, mode: str) -> dict[str, float]:
    """Model -> seconds of one eager step on a device of this type, where it was recorded."""
    wanted = {"suite": suite, "dev": device, "mode": mode}
    rows = (row for row in _rows(STEPS) if all(row[key] == value for key, value in wanted.items()))
    return {row["name"]: float(row["eager_s"]) for row in rows}


def parameters(suite: str) -> dict[str, int]:
    """Model -> number of its parameters, where it was counted."""
    return {row["name"]: int(row["parameters"]) for row in _rows(PARAMETERS) if row["suite"] == suite}


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)
