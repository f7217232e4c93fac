"""What follows from the rows on disk: the exit code, and which cells a resumed run runs again."""

from __future__ import annotations

from collections.abc import Iterable

from runner.results.columns import HARMLESS, UNFINISHED, Row, Status

#: What `resume` can be: cells without a row and unfinished ones; those and the failed; everything.
RESUME = ("missing", "failed", "all")


def exit_code(rows: Iterable[Row], missing: int = 0, strict: bool = False, interrupted: int | None = None) -> int:
    """Exit code of a run or sweep: 0 or 1, or 128 plus the signal number in `interrupted`.

    `missing` counts the requested cells without a row: a cell that was lost is a failure.
    """
    if interrupted is not None:
        return 128 + interrupted
    return int(missing > 0 or any(is_failure(row, strict) for row in rows))


def is_failure(row: Row, strict: bool = False) -> bool:
    """Whether this row makes the exit code 1; a status that this version doesn't know does."""
    status = row["status"]
    return status not in HARMLESS or (strict and status == Status.UNSUPPORTED)


def cells_to_run(cell_ids: Iterable[str], rows: Iterable[Row], resume: str, strict: bool = False) -> list[str]:
    """Those of `cell_ids` that have to run (again) under `resume`, one of RESUME, in their order."""
    by_cell = {row["cell_id"]: row for row in rows}
    return [c for c in cell_ids if c not in by_cell or runs_again(by_cell[c], resume, strict)]


def runs_again(row: Row, resume: str, strict: bool = False) -> bool:
    """Whether `resume` replaces this row."""
    if resume == "missing":
        return row["status"] in UNFINISHED
    return resume == "all" or is_failure(row, strict)
