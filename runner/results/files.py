"""The result files of one run, and of the sweep that it may be a job of."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from runner.errors import UsageError
from runner.results.columns import COMMON, Column, Row
from runner.results.run import RunRecord
from runner.results.text import format_value
from runner.results.writer import CsvFile, OtherColumnsError, replace_file, writing

PENDING = "pending"
SWEEP = "sweep"
BY_NAME: Mapping[str, Column] = {column.name: column for column in COMMON}
#: First columns of every long table.
TABLE_KEY = (BY_NAME["cell_id"], BY_NAME["name"])
#: What tells the rows of one sweep apart; jobs that differ in the tag or a limit only have the same cell_id.
SWEEP_KEY = ("cell_id", "tag", "log")


class RunFiles:
    """Writes everything that a run records after its run.json: rows, long tables and samples.

    With `sweep`, the folder of a sweep that `directory` lies in, every final row goes to the sweep's files as well.
    """

    def __init__(self, directory: Path, record: RunRecord, sweep: Path | None = None) -> None:
        self.directory = directory
        self.rows = CsvFile(directory / f"{record.experiment}.csv", record.columns)
        self.pending = CsvFile(directory / f"{PENDING}.csv", record.columns)
        self.tables = {
            name: CsvFile(directory / f"{name}.csv", (*TABLE_KEY, *columns)) for name, columns in record.tables.items()
        }
        self.sweep = SweepFiles(sweep, record, directory.relative_to(sweep)) if sweep else None

    def append(self, row: Row) -> None:
        """Write a final row."""
        self.rows.append(row)
        if self.sweep:
            self.sweep.append(row)

    def pend(self, row: Row) -> None:
        """Keep a row that counts until its cell has a final one."""
        self.pending.append(row)

    def table(self, cell_id: str, name: str, table: str, rows: Iterable[Row]) -> None:
        """Append rows of the cell `cell_id`, model `name`, to a long table. Raises KeyError for an undeclared one."""
        self.tables[table].append(*({"cell_id": cell_id, "name": name, **row} for row in rows))

    def samples(self, cell_id: str, arrays: Mapping[str, Sequence[float]]) -> None:
        """Add arrays to `samples/<cell_id>.npz`; one of the same name is replaced, the others stay."""
        import numpy as np

        path = self.samples_path(cell_id)
        with writing(path):
            together: dict[str, Any] = {}
            if path.exists():
                with np.load(path) as before:
                    together.update(before)
            together.update({key: np.asarray(values) for key, values in arrays.items()})
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **together)
            replace_file(path, buffer.getvalue())

    def samples_path(self, cell_id: str) -> Path:
        """Where the samples of a cell are."""
        return self.directory / "samples" / f"{cell_id}.npz"

    def forget(self, cell_ids: Collection[str]) -> None:
        """Remove everything that was recorded of these cells, as they are about to run again."""
        gone: list[Row] = []

        def superseded(row: Row) -> bool:
            return row["cell_id"] in cell_ids

        def superseded_row(row: Row) -> bool:
            gone.extend([row] if superseded(row) else [])
            return superseded(row)

        self.rows.remove(superseded_row)
        if self.sweep:
            self.sweep.forget(gone)
        for file in (self.pending, *self.tables.values()):
            file.remove(superseded)
        for cell_id in cell_ids:
            self.samples_path(cell_id).unlink(missing_ok=True)


class SweepFiles:
    """The files of a sweep's folder: full rows by experiment, and the common columns of all of them.

    Jobs of one experiment may have different columns: those that differ from the first one's have a file of their own,
    with a number. `job` is the job's folder relative to the sweep's; a row's log is given relative to the latter.
    """

    def __init__(self, directory: Path, record: RunRecord, job: Path) -> None:
        self._stem, self._columns = directory / record.experiment, record.columns
        self.common = CsvFile(directory / f"{SWEEP}.csv", COMMON)
        self.job = job

    def append(self, *rows: Row) -> None:
        """Write final rows of a job."""
        here = [self.located(row) for row in rows]
        for file in self._numbered():
            with suppress(OtherColumnsError):
                file.append(*here)
                break
        self.common.append(*({key: value for key, value in row.items() if key in BY_NAME} for row in here))

    def located(self, row: Row) -> Row:
        """`row` with its log's path as seen from the sweep's folder."""
        return {**row, "log": os.fspath(self.job / row["log"])} if row.get("log") else row

    def forget(self, rows: Iterable[Row]) -> None:
        """Remove the rows of a job that it superseded."""
        gone = {sweep_key(self.located(row)) for row in rows}
        superseded: Callable[[Row], bool] = lambda row: sweep_key(row) in gone  # noqa: E731 - used twice below
        if not gone:
            return
        for file in self.full():
            with suppress(OtherColumnsError):
                file.remove(superseded)
        self.common.remove(superseded)

    def full(self) -> Iterator[CsvFile]:
        """The files with all columns that are there."""
        return itertools.takewhile(lambda file: file.path.exists(), self._numbered())

    def _numbered(self) -> Iterator[CsvFile]:
        names = (f"{self._stem}{f'_{number}' if number > 1 else ''}.csv" for number in itertools.count(1))
        return (CsvFile(Path(name), self._columns) for name in names)


def sweep_key(row: Row) -> tuple[str, ...]:
    """What identifies a row within a sweep."""
    return tuple(format_value(row.get(name), BY_NAME[name]) for name in SWEEP_KEY)


def rebuild_sweep(directory: Path) -> int:
    """Write a sweep's files anew from the rows of its jobs, and return how many rows there are.

    For when no job of the sweep is running. Raises UsageError where there is no sweep, WriteError.
    """
    from runner.results.reader import read_run

    runs = read_run(directory).runs
    if any(run.directory == directory for run in runs):
        raise UsageError(f"{directory} is a single run and no sweep: there is nothing to gather")
    files = [SweepFiles(directory, run.record, run.directory.relative_to(directory)) for run in runs]
    for path in {f.path for file in files for f in (*file.full(), file.common)}:
        path.unlink(missing_ok=True)
    for file, run in zip(files, runs, strict=True):
        file.append(*run.rows)
    return sum(len(run.rows) for run in runs)
