"""What `plan=true` prints: the cells, and why some of them will not run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.table import Table

from runner.cells import Cell
from runner.report.console import make_console, plain, print_line, print_whole

SHOWN = ("name", "batch_size", "task", "suite", "experiment", "backend", "dev", "precision", "mode", "cell_id")


def print_plan(cells: Sequence[Cell], stream: TextIO) -> None:
    """A line for each cell; columns without a value are left out."""
    rows = [cell.row() for cell in cells]
    shown = [name for name in SHOWN if any(row.get(name) is not None for row in rows)]
    table = Table(box=None, pad_edge=False)
    for name in (*shown, "plan"):
        table.add_column(name)
    for cell, row in zip(cells, rows, strict=True):
        what = "run" if cell.planned is None else f"{cell.planned['status']}: {cell.planned['error']}"
        table.add_row(*(plain("" if row.get(n) is None else row[n]) for n in shown), plain(what))
    console = make_console(stream)
    print_whole(console, table)
    to_run = sum(cell.planned is None for cell in cells)
    print_line(console, f"{len(cells)} cells, {to_run} to run, {len(cells) - to_run} not; nothing was started")
