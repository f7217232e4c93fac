"""Facts about the suites' models that were measured once and are kept in the package: eager times, parameter counts.

`python -m runner.recorded.make` writes the tables beside this file.
"""

from __future__ import annotations

import csv
from pathlib import Path

STEPS = Path(__file__).parent / "eager_steps.csv"
PARAMETERS = Path(__file__).parent / "parameters.csv"


def eager_seconds(suite: str, device: str, mode: str) -> dict[str, float]:
    """Model -> seconds of one eager step on a device of this type, where it was recorded.

    Of a model that is too slow to be measured in a short time they are those of its first step.
    """
    wanted = {"suite": suite, "dev": device, "mode": mode}
    rows = (row for row in read(STEPS) if all(row[key] == value for key, value in wanted.items()))
    return {row["name"]: float(row["eager_s"]) for row in rows}


def parameters(suite: str) -> dict[str, int]:
    """Model -> number of its parameters, where it was counted."""
    return {row["name"]: int(row["parameters"]) for row in read(PARAMETERS) if row["suite"] == suite}


def read(table: Path) -> list[dict[str, str]]:
    """The rows of a table; none where there is no such file yet."""
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
