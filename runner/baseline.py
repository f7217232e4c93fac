"""Earlier speedups to put beside new ones: a run's folder, or a CSV of ours or of dynamobench."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.cells import subject
from runner.errors import UsageError
from runner.results.columns import COMMON, Column, Row, Status
from runner.results.reader import read_run, read_table

SPEEDUP = Column("speedup", float, "", "speedup")


@dataclass(frozen=True)
class Baseline:
    """Speedups by subject; of a CSV without our columns, by name alone."""

    by_subject: Mapping[tuple[str, ...], float]
    by_name: Mapping[str, float]

    @classmethod
    def read(cls, path: str) -> Baseline:
        """Read a run's or sweep's folder, or a CSV. Raises UsageError where there is no speedup in it."""
        place = Path(path)
        if not place.exists():
            raise UsageError(f"experiment.baseline={path}: there is no such file or folder")
        rows = read_run(place).rows if place.is_dir() else list(read_table(place, (*COMMON, SPEEDUP)).rows)
        good = [row for row in rows if row.get("speedup") and row.get("status", "ok") == Status.OK]
        if not good:
            raise UsageError(f"experiment.baseline={path}: no row in it has a speedup")
        ours = [row for row in good if row.get("cell_id")]
        foreign = [row for row in good if not row.get("cell_id")]
        return cls(
            {subject(row): row["speedup"] for row in ours}, {str(row["name"]): row["speedup"] for row in foreign}
        )

    def columns(self, row: Row) -> Row:
        """Columns baseline and speedup_vs_baseline of a row; empty where the baseline has no such subject."""
        before = self.by_subject.get(subject(row)) or self.by_name.get(str(row["name"]))
        now = row.get("speedup")
        return {"baseline": before, "speedup_vs_baseline": now / before if before and now else None}
