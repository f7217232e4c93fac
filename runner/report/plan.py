"""What `plan=true` prints: the cells, why some of them will not run, and how long the others may take."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from rich.table import Table

from runner.cells import Cell
from runner.errors import UsageError
from runner.report.console import make_console, plain, print_line, print_whole
from runner.report.progress import duration
from runner.results.columns import Row, Status
from runner.results.reader import read_one
from runner.results.run import RunRecord

SHOWN = ("name", "batch_size", "task", "suite", "experiment", "backend", "dev", "precision", "mode", "cell_id")
#: Folder of a day, in which Hydra's configuration puts the runs.
DAY = re.compile(r"\d{4}-\d\d-\d\d")


def print_plan(cells: Sequence[Cell], stream: TextIO, earlier: Mapping[str, float], cell_s: float) -> None:
    """A line for each cell; columns without a value are left out.

    `earlier` is what `earlier_seconds` found, `cell_s` the limit of a cell's child in seconds.
    """
    rows = [{**cell.row(), "earlier": _seconds(cell, earlier)} for cell in cells]
    shown = [name for name in (*SHOWN, "earlier") if any(row.get(name) is not None for row in rows)]
    table = Table(box=None, pad_edge=False)
    for name in (*shown, "plan"):
        table.add_column(name)
    for cell, row in zip(cells, rows, strict=True):
        what = "run" if cell.planned is None else f"{cell.planned['status']}: {cell.planned['error']}"
        table.add_row(*(plain("" if row.get(n) is None else row[n]) for n in shown), plain(what))
    console = make_console(stream)
    print_whole(console, table)
    to_run = [cell for cell in cells if cell.planned is None]
    many = f"{len(cells)} cell{'s' if len(cells) != 1 else ''}"
    print_line(console, f"{many}, {len(to_run)} to run, {len(cells) - len(to_run)} not; nothing was started")
    if to_run:
        print_line(console, _expected(to_run, earlier, cell_s))


def earlier_seconds(directory: Path) -> dict[str, float]:
    """Seconds that each cell took when it last was ok in a run beside `directory` or of another day: by cell_id."""
    root, days = (directory.parent.parent, "*/") if DAY.fullmatch(directory.parent.name) else (directory.parent, "")
    # Runs and jobs of sweeps, and nothing deeper: beside a folder that the user chose there may be anything.
    records = [*root.glob(f"{days}*/{RunRecord.FILE}"), *root.glob(f"{days}*/*/{RunRecord.FILE}")]
    return {row["cell_id"]: row["cell_s"] for row in _timed_rows(records)}


def _timed_rows(records: Sequence[Path]) -> Iterator[Row]:
    """Rows with a duration, the newest run's last."""
    for record in sorted(records, key=lambda path: path.stat().st_mtime):
        try:
            rows = read_one(record.parent).rows
        except UsageError:  # another version's: it only knows durations that this one can't read
            continue
        yield from (row for row in rows if row["status"] == Status.OK and row.get("cell_s") is not None)


def _seconds(cell: Cell, earlier: Mapping[str, float]) -> str | None:
    seconds = None if cell.planned else earlier.get(cell.cell_id)
    return None if seconds is None else duration(seconds)


def _expected(to_run: Sequence[Cell], earlier: Mapping[str, float], cell_s: float) -> str:
    """How long it may take: what is known, and the limit."""
    known = [earlier[cell.cell_id] for cell in to_run if cell.cell_id in earlier]
    before = f"{len(known)} of them took {duration(sum(known))} before; " if known else "none of them was run before; "
    return f"{before}each attempt of a cell is ended after {duration(cell_s)} (limits.cell_s)"
