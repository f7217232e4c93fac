"""Reads what runs left behind, whatever state they left it in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.errors import UsageError
from runner.results.columns import COMMON, Column, Row
from runner.results.files import PENDING
from runner.results.run import RunRecord
from runner.results.text import row_parser, split_line


@dataclass(frozen=True)
class Table:
    """Rows of one CSV file. `dropped` counts complete lines that don't fit the header or a known column's type."""

    names: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    dropped: int = 0


@dataclass(frozen=True)
class Run:
    """One run: its record, a row per cell in catalogue order, and the ids of cells that have none yet."""

    directory: Path
    record: RunRecord
    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    dropped: int = 0


@dataclass(frozen=True)
class Results:
    """What a folder holds: one run, or the runs of a sweep in the order of its jobs."""

    directory: Path
    runs: tuple[Run, ...]

    @property
    def rows(self) -> list[Row]:
        """All rows, their logs' paths relative to `directory`."""
        return [located(row, run.directory, self.directory) for run in self.runs for row in run.rows]

    @property
    def missing(self) -> list[str]:
        """Names of the models whose cells have no row."""
        return [run.record.name(cell_id) for run in self.runs for cell_id in run.missing]


def read_rows(path: Path, columns: Sequence[Column] = COMMON) -> list[Row]:
    """Rows of a CSV file; see `read_table`."""
    return list(read_table(path, columns).rows)


def read_table(path: Path, columns: Sequence[Column] = COMMON) -> Table:
    """Read a CSV file: values typed by the `columns` of the same name, as text where there is none.

    A last line without its newline is one that is being written or was cut, and isn't read. A file that doesn't
    exist has no rows. Raises UsageError for a file that can't be read.
    """
    try:
        text = path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return Table()
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}") from error
    lines = text.split("\n")[:-1]  # not splitlines(): it breaks at more than the newline that ends a row
    if not lines:
        return Table()
    names = tuple(split_line(lines[0]))
    types = {column.name: column.type for column in columns}
    parse = row_parser(names, [types.get(name, str) for name in names])
    parsed = [parse(split_line(line)) for line in lines[1:]]
    rows = tuple(row for row in parsed if row is not None)
    return Table(names, rows, dropped=len(parsed) - len(rows))


def read_run(directory: Path) -> Results:
    """Read a run's folder, or a sweep's by way of its jobs'. Raises UsageError where there is no run in it."""
    folders = list(run_folders(directory))
    if not folders:
        raise UsageError(f"{directory} holds no run: there is no {RunRecord.FILE} in it or below")
    runs = [read_one(folder) for folder in folders]
    runs.sort(key=lambda run: (run.record.job is None, run.record.job or 0, run.directory))
    return Results(directory, tuple(runs))


def run_folders(directory: Path) -> Iterator[Path]:
    """`directory` itself if it is a run's folder, else all those below it."""
    for folder, subfolders, files in os.walk(directory):
        if RunRecord.FILE in files:
            subfolders.clear()  # a run's artifacts may be many, and may hold a run.json of their own
            yield Path(folder)


def read_one(directory: Path) -> Run:
    """Read the folder of a single run; a pending row counts where there is no final one."""
    record = RunRecord.load(directory)
    final = read_table(directory / f"{record.experiment}.csv", record.columns)
    pending = read_table(directory / f"{PENDING}.csv", record.columns)
    read = [*pending.rows, *final.rows]
    ours = [row for row in read if row.get("cell_id") and row.get("status")]
    rows = {row["cell_id"]: row for row in ours}
    missing = tuple(cell_id for cell_id in record.cells if cell_id not in rows)
    dropped = final.dropped + pending.dropped + len(read) - len(ours)
    return Run(directory, record, tuple(in_order(rows, record.cells)), missing, dropped)


def waiting_cells(run: Run) -> set[str]:
    """Cells with a pending row and no final one."""
    pending = {row["cell_id"] for row in read_rows(run.directory / f"{PENDING}.csv", run.record.columns)}
    if not pending:
        return set()
    final = read_rows(run.directory / f"{run.record.experiment}.csv", run.record.columns)
    return pending - {row["cell_id"] for row in final}


def in_order(rows: dict[str, Row], order: Iterable[str]) -> list[Row]:
    """Values of `rows` by `order`; what isn't in it comes last."""
    place = {cell_id: i for i, cell_id in enumerate(order)}
    return sorted(rows.values(), key=lambda row: place.get(row["cell_id"], len(place)))


def located(row: Row, run: Path, directory: Path) -> Row:
    """`row` with its log's path relative to `directory` and not to its run."""
    if not row.get("log") or run == directory:
        return row
    return {**row, "log": os.fspath(run.relative_to(directory) / row["log"])}
