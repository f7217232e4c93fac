"""What the HTML report shows of a single model: samples, long tables, the end of the log. Read only where present."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.report.figures import Section
from runner.report.pack import pack
from runner.report.sources import Part
from runner.results.columns import Column, Row
from runner.results.files import TABLE_KEY
from runner.results.reader import read_table
from runner.results.status import is_failure

#: Bytes of a log's end: of a failed cell, of another one, and of all logs together.
LOG_FAILED, LOG_OTHER, LOG_ALL = 6_000, 800, 3_000_000
#: Lines of a long table per cell, and of all together.
LINES_CELL, LINES_ALL = 40, 150_000
#: Longest text in a long table.
LONGEST = 400
#: Samples of all cells together; of those beyond, the page has none.
SAMPLES_ALL = 1_000_000
#: A sample is stored as a whole number of this fraction of its side's median.
RESOLUTION = 1e-4
#: Arrays of a paired measurement: seconds per call of side A and B, of one process or kind of run.
SIDE = re.compile(r"(.*?)_?t([AB])(?:_(.*))?")
PLAIN_ID = re.compile(r"\w+")


def details(sections: Sequence[Section]) -> dict[str, Any]:
    """Everything that is looked at one model at a time, by `section.row`."""
    return {
        "samples": dict(samples(sections)),
        "logs": dict(logs(sections)),
        "tables": {i: tables(section) for i, section in enumerate(sections)},
    }


def located(sections: Sequence[Section]) -> Iterator[tuple[str, Row, Path]]:
    """Key, row and folder of every row."""
    for i, section in enumerate(sections):
        rows = ((row, part) for part in section.parts for row in part.rows)
        for j, (row, part) in enumerate(rows):
            yield f"{i}.{j}", row, part.directory if part.directory.is_dir() else part.directory.parent


def inside(folder: Path, path: Path) -> bool:
    """Whether `path` lies in `folder`: a CSV from elsewhere may name any file."""
    return path.resolve().is_relative_to(folder.resolve())


def logs(sections: Sequence[Section]) -> Iterator[tuple[str, str]]:
    """The ends of the logs, those of failed cells first, as long as there is room."""
    left = LOG_ALL
    everything = [entry for entry in located(sections) if entry[1].get("log")]
    for key, row, folder in sorted(everything, key=lambda entry: not is_failure(entry[1])):
        path = folder / row["log"]
        limit = min(left, LOG_FAILED if is_failure(row) else LOG_OTHER)
        text = tail(path, limit) if limit > 0 and inside(folder, path) else ""
        left -= len(text)
        if text:
            yield key, text


def tail(path: Path, limit: int) -> str:
    """The last `limit` bytes of a file from a line's start on; nothing where it can't be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            text = file.read(limit).decode(errors="replace")
    except OSError:
        return ""
    return text if size <= limit else f"... {text.partition(chr(10))[2]}"


def samples(sections: Sequence[Section]) -> Iterator[tuple[str, list[Any]]]:
    """The paired samples of every cell that has some."""
    left = SAMPLES_ALL
    for key, row, folder in located(sections):
        cell_id = row.get("cell_id") or ""
        home = (folder / row["log"]).parent.parent if row.get("log") else folder
        path = home / "samples" / f"{cell_id}.npz"
        if left > 0 and PLAIN_ID.fullmatch(cell_id) and path.is_file() and inside(folder, path):
            pairs = read_pairs(path)
            left -= sum(len(side[1]) for pair in pairs for side in pair[1:])
            if pairs:
                yield key, pairs


def read_pairs(path: Path) -> list[list[Any]]:
    """`[label, [unit, values of A], [unit, values of B]]` for each process; none from a damaged file."""
    import numpy as np

    sides: dict[str, dict[str, Any]] = {}
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            for name in arrays.files:
                if found := SIDE.fullmatch(name):
                    label = " ".join(filter(None, (found[1], f"process {found[3]}" if found[3] else "")))
                    sides.setdefault(label, {})[found[2]] = arrays[name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return []
    whole = {label: p for label, p in sides.items() if p.keys() == {"A", "B"} and len(p["A"]) == len(p["B"]) > 0}
    labelled = len(whole) > 1
    return [[label if labelled else "", integers(p["A"]), integers(p["B"])] for label, p in whole.items()]


def integers(values: Any) -> list[Any]:
    """Seconds as whole numbers of a unit, and the unit."""
    import numpy as np

    known = values[np.isfinite(values)]
    unit = float(np.median(known)) * RESOLUTION if len(known) else 0.0
    if unit <= 0:
        return [0.0, [None] * len(values)]
    return [float(f"{unit:.6g}"), [round(v / unit) if np.isfinite(v) else None for v in values.tolist()]]


def tables(section: Section) -> dict[str, Any]:
    """The long tables of all runs of a section, a column at a time; `row` says whose each line is."""
    found: dict[str, tuple[tuple[Column, ...], list[tuple[int, Row]]]] = {}
    start = 0
    for part in section.parts:
        places = {row["cell_id"]: start + i for i, row in enumerate(part.rows) if row.get("cell_id")}
        start += len(part.rows)
        for name, columns in declared(part).items():
            rows = read_table(part.directory / f"{name}.csv", (*TABLE_KEY, *columns)).rows
            lines = found.setdefault(name, (columns, []))[1]
            lines.extend((places[row["cell_id"]], row) for row in rows if row.get("cell_id") in places)
    return {name: packed(columns, lines) for name, (columns, lines) in found.items() if lines}


def declared(part: Part) -> Mapping[str, tuple[Column, ...]]:
    """The long tables that a run may have."""
    return part.record.tables if part.record else {}


def packed(columns: Sequence[Column], lines: list[tuple[int, Row]]) -> dict[str, Any]:
    """One long table: of a cell with many lines those that took longest, or the first."""
    by_cell: dict[int, list[Row]] = {}
    for place, row in lines:
        by_cell.setdefault(place, []).append(row)
    if any(column.name == "seconds" for column in columns):
        by_cell = {place: sorted(rows, key=seconds, reverse=True) for place, rows in by_cell.items()}
    kept = [(place, row) for place, rows in by_cell.items() for row in rows[:LINES_CELL]][:LINES_ALL]
    return {
        "columns": [(column.name, column.type.__name__) for column in columns],
        "row": [place for place, _ in kept],
        "cut": [place for place, rows in by_cell.items() if len(rows) > LINES_CELL],
        "data": {c.name: pack([shortened(row.get(c.name)) for _, row in kept], c.type) for c in columns},
    }


def seconds(row: Row) -> float:
    """To sort phases."""
    return float(row.get("seconds") or 0)


def shortened(value: Any) -> Any:
    """Text that isn't too long for a table."""
    return f"{value[:LONGEST]}..." if isinstance(value, str) and len(value) > LONGEST else value
