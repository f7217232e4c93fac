"""Records and rows of small made-up runs."""

from __future__ import annotations

import pytest

from runner.results.columns import Column, Row, header
from runner.results.run import RunRecord

OWN = (Column("speedup", float, "x", "ratio", headline=True), Column("converged", bool, "", "narrow enough"))


class Maker:
    """Makes records and rows; cells are named by one letter, their id is the letter twelve times."""

    @staticmethod
    def record(letters: str, experiment: str = "speedup", job: int | None = None) -> RunRecord:
        """A record with a cell for each letter, in this order."""
        cells = {letter * 12: {"model": {"name": letter}} for letter in letters}
        tables = {"graph_breaks": (Column("reason", str, "", "reason"),)}
        return RunRecord(experiment, cells, header(OWN), tables=tables, summary=("speedup",), job=job)

    @staticmethod
    def row(letter: str, status: str = "ok", **values: object) -> Row:
        """A row of the cell."""
        return {"cell_id": letter * 12, "name": letter, "status": status, "log": f"logs/{letter * 12}.log", **values}


@pytest.fixture
def make() -> Maker:
    """Makes records and rows."""
    return Maker()
