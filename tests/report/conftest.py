"""Made-up results for the tests of reports."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "fixtures"))

import synthetic

from runner.results.columns import Row


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """The functions that write made-up runs."""
    return synthetic


class Results:
    """Writes runs with chosen rows into a folder; a name may be anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self, rows: dict[str, Row | None], where: str = "run", sweep: str = "", job: int | None = None, **choices: str
    ) -> Path:
        """A run with a cell for each name; None is a cell without a row, {} an ok row."""
        cells = synthetic.cells_of(list(rows), **choices)
        rng = random.Random(0)
        written = [
            self.row(rng, cell_id, cell, own)
            for (cell_id, cell), own in zip(cells.items(), rows.values(), strict=True)
            if own is not None
        ]
        folder = self.folder / where
        self.files = synthetic.write_run(folder, written, cells, self.folder / sweep if sweep else None, job)
        self.rows = written
        return folder

    @staticmethod
    def row(rng: random.Random, cell_id: str, cell: dict[str, Any], own: Row) -> Row:
        """A whole row with these values; ok and converged unless they say otherwise."""
        choices = {key: value for key, value in cell["choices"].items() if key != "optimizer"}
        key = {"cell_id": cell_id, "name": cell["model"]["name"], "dev": "cuda", **choices}
        log = {"log": f"logs/{cell_id}.log", "command": f"python -m runner model={cell['model']['name']}"}
        if own.get("status", "ok") != "ok":
            return {**key, **log, **own}
        return {**key, **log, **synthetic.ok_row(rng, flags="", converged=True, device_name="NVIDIA H200"), **own}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """`results({"resnet18": {}})` writes a run and returns its folder."""
    return Results(tmp_path)
