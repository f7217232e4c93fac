"""One side of a comparison: the rows of a run, of a sweep, of any folder above them, or of a CSV file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.batch_sizes import LARGEST
from runner.cells import SUBJECT, Cell
from runner.errors import UsageError
from runner.measure.columns import COLUMNS, PROCESS_COLUMNS
from runner.report.foreign import judged
from runner.results.columns import COMMON, Column, Row, Status
from runner.results.reader import Run, read_run, read_table
from runner.results.run import SWEEP_FILE, RunRecord
from runner.results.status import is_failure

#: Status of a cell that was asked for and has no row; no row on disk has it.
NO_ROW = "no row"
#: Numbers of single experiments that can be compared.
OWN = tuple(Column(name, float, "", "") for name in ("forward_ratio", "mean", "var"))
MEASURED = (*(Column(*facts) for facts in (*COLUMNS, *PROCESS_COLUMNS)), *OWN)
#: Columns that say nothing of what one experiment found.
SHARED = frozenset(column.name for column in COMMON)


@dataclass(frozen=True)
class Entry:
    """A row with what is known of its run: the cell's configuration, the environment, the run itself."""

    row: Row
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    run: Run | None = None

    @property
    def name(self) -> str:
        """Model name."""
        return str(self.row.get("name") or "")

    @property
    def status(self) -> str:
        """The row's status."""
        return str(self.row["status"])

    @property
    def ok(self) -> bool:
        """Whether the row's numbers count."""
        return self.status == Status.OK

    @property
    def failed(self) -> bool:
        """Whether the cell came to nothing that could be compared, and was not meant to."""
        return is_failure(self.row)

    @property
    def declared(self) -> Sequence[Column]:
        """The columns of the experiment's own; none of a lone CSV, which doesn't say what its columns are."""
        columns = self.run.record.columns if self.run else ()
        return [column for column in columns if column.name not in SHARED]

    @property
    def numbers(self) -> dict[str, float]:
        """What the experiment's own columns hold, as far as it is finite numbers."""
        own = ((name, to_number(value)) for name, value in self.row.items() if name not in SHARED)
        return {name: number for name, number in own if number is not None}

    @property
    def only_checked(self) -> bool:
        """Whether the verdict on its outputs is all that the row is for: no column is of seconds, bytes or the like.

        Of a lone CSV of ours that isn't known; one of dynamobench's has either a verdict or a speedup.
        """
        known = self.declared or "cell_id" not in self.row
        return bool(self.row.get("accuracy") and known) and not any(column.unit for column in self.declared)

    @property
    def largest(self) -> float | None:
        """The batch size that was found, where the experiment looks for one."""
        return to_number(self.row.get(LARGEST))

    @property
    def seeks_batch_size(self) -> bool:
        """Whether the row's batch size is a result, and no part of what was asked for."""
        return LARGEST in self.row or any(column.name == LARGEST for column in self.declared)

    def samples(self) -> Path | None:
        """The file of its raw samples, if there is one."""
        if self.run is None:
            return None
        path = self.run.directory / "samples" / f"{self.row['cell_id']}.npz"
        return path if path.is_file() else None


@dataclass(frozen=True)
class Side:
    """What one path holds. `keys` are those of SUBJECT that its rows say; `dropped` counts damaged lines."""

    path: Path
    entries: tuple[Entry, ...]
    keys: tuple[str, ...] = SUBJECT
    foreign: bool = False
    dropped: int = 0


def read_side(path: Path) -> Side:
    """Read a folder or a CSV file. Raises UsageError where it isn't there or holds nothing that could be compared."""
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder")
    if path.is_dir():
        return side_of(path, read_run(path).runs)
    beside = _runs_beside(path)
    return side_of(path, beside) if beside else _read_csv(path)


def side_of(path: Path, runs: Sequence[Run]) -> Side:
    """The side that these runs make up; a cell without a row is an entry that says so."""
    entries = [_entry(run, row) for run in runs for row in run.rows]
    lost = [(run, Cell(run.record.cells[cell_id])) for run in runs for cell_id in run.missing]
    entries += [_entry(run, {**cell.row(), "status": NO_ROW}) for run, cell in lost]
    if not entries:
        raise UsageError(f"{path} holds no results yet: none of its cells has a row")
    return Side(path, tuple(entries), dropped=sum(run.dropped for run in runs))


def _entry(run: Run, row: Row) -> Entry:
    return Entry(row, run.record.cells.get(row["cell_id"], {}), run.record.environment, run)


def _runs_beside(path: Path) -> list[Run]:
    """The runs that wrote this CSV file, where it still lies in their folder."""
    if not any((path.parent / name).exists() for name in (RunRecord.FILE, SWEEP_FILE)):
        return []
    return [run for run in read_run(path.parent).runs if run.record.experiment == path.stem]


def _read_csv(path: Path) -> Side:
    names = read_table(path).names
    if "cell_id" in names and "status" in names:
        table = read_table(path, (*COMMON, *MEASURED))
        rows = [row for row in table.rows if row["cell_id"] and row["status"]]
        dropped = table.dropped + len(table.rows) - len(rows)
    elif "name" in names and {"speedup", "accuracy"} & set(names):
        table = read_table(path, ())
        rows, dropped = [_foreign(row) for row in table.rows if row["name"]], table.dropped
    else:
        raise UsageError(
            f"{path} is no result file: no folder of runs, and no CSV with columns name and speedup or accuracy"
        )
    if not rows:
        raise UsageError(f"{path} has no complete row")
    keys = tuple(key for key in SUBJECT if key in names)
    return Side(path, tuple(map(Entry, rows)), keys, "cell_id" not in names, dropped)


def _foreign(row: Row) -> Row:
    """A line of dynamobench's: a model that failed has no speedup, or 0."""
    numbers: Row = {key: to_number(row[key]) or None for key in ("speedup", "abs_latency") if key in row}
    status, error = judged({**row, **numbers})
    return {"error": error, "accuracy": "", **row, **numbers, "status": row.get("status") or status.value}


def to_number(text: Any) -> float | None:
    """`text` as a finite float, or None."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
