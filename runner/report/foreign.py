"""Reads CSV files that come alone: our own, moved away from their run, and those that dynamobench writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runner.errors import UsageError
from runner.measure.columns import COLUMNS, PROCESS_COLUMNS
from runner.results.columns import COMMON, Column, Phase, Row, Status
from runner.results.reader import read_table
from runner.results.verdicts import status_of

DYNAMOBENCH_KEY = ("dev", "name", "batch_size")
#: What dynamobench measures besides, as far as a report shows it; its time for compiling under our name.
DYNAMOBENCH = (
    Column("compilation_latency", float, "s", "upstream's time for compiling: compiled warm-up minus eager warm-up"),
    Column("compression_ratio", float, "", "eager_peak_mem / dynamo_peak_mem"),
    Column("eager_peak_mem", float, "GB", "peak memory of eager"),
    Column("dynamo_peak_mem", float, "GB", "peak memory of the backend"),
)
RENAMED = {"compilation_latency": "compile_s"}
MEASURED = tuple(Column(*facts) for facts in (*COLUMNS, *PROCESS_COLUMNS))
#: In a file without its run.json these are typed by name, all other columns by what is in them.
KNOWN = {column.name: column for column in (*COMMON, *MEASURED, *DYNAMOBENCH)}


def read_csv(path: Path) -> tuple[tuple[Column, ...], list[Row], int, bool]:
    """Columns, rows, number of damaged lines, and whether dynamobench wrote it.

    Raises UsageError for a file that can't be read or is no table of results.
    """
    table = read_table(path, tuple(KNOWN.values()))
    names = table.names
    if not names:
        raise UsageError(f"{path} is empty: give a run's or sweep's folder, or a CSV of results")
    if "cell_id" in names and "status" in names:
        rows = [row for row in table.rows if row["cell_id"] and row["status"]]
        return guessed(names, rows), rows, table.dropped + len(table.rows) - len(rows), False
    if names[:3] == DYNAMOBENCH_KEY and {"speedup", "accuracy"} & set(names):
        columns = tuple(renamed(column) for column in guessed(names, table.rows))
        return columns, [adopt(row, path.stem) for row in table.rows], table.dropped, True
    raise UsageError(
        f"{path} is no table of results: its header has neither cell_id and status (ours) "
        "nor dev,name,batch_size with speedup or accuracy (dynamobench's)"
    )


def guessed(names: Sequence[str], rows: Sequence[Row]) -> tuple[Column, ...]:
    """The columns of a file; a column that isn't known is a number if all that is in it are. Converts the rows."""
    return tuple(KNOWN.get(name) or guess(name, rows) for name in names)


def guess(name: str, rows: Sequence[Row]) -> Column:
    """The column of this name, its values in `rows` converted."""
    try:
        numbers = [float(row[name]) if row[name] else None for row in rows]
    except ValueError:
        return Column(name, str, "", "")
    if not any(number is not None for number in numbers):
        return Column(name, str, "", "")
    for row, number in zip(rows, numbers, strict=True):
        row[name] = number
    return Column(name, float, "", "")


def renamed(column: Column) -> Column:
    """The column under the name that the same thing has here."""
    name = RENAMED.get(column.name, column.name)
    return Column(name, column.type, column.unit, column.meaning, column.headline)


def adopt(row: Row, stem: str) -> Row:
    """A row of dynamobench's as one of ours: with a status, and without the zeros that stand for "not measured"."""
    status, error = judged(row)
    numbers = status is Status.OK
    kept = {RENAMED.get(k, k): v for k, v in row.items() if numbers or not isinstance(v, float)}
    return {
        **kept,
        "batch_size": row["batch_size"] or None,
        "status": status.value,
        "error": error,
        "tag": row.get("tag") or stem,
    }


def judged(row: Row) -> tuple[Status, str]:
    """Status of a row of dynamobench's, which has none."""
    word = row.get("accuracy", "")
    if word:
        try:
            return status_of(word, Phase.COMPILE), "" if word.startswith("pass") else word
        except ValueError:
            return Status.RUN_ERROR, word
    if row.get("speedup"):
        return Status.OK, ""
    return Status.RUN_ERROR, "failed; dynamobench's performance files don't say how"
