"""Expected accuracy and graph breaks in a CSV that is checked in: equal, or the comparison fails, in both directions.

The file is upstream's: `name,accuracy,graph_breaks`; a further column `flaky` marks models whose difference is
reported and does not fail.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.compare.sides import NO_ROW, Entry, Side
from runner.errors import UsageError
from runner.results.columns import UNFINISHED, Status
from runner.results.writer import replace_file

COMPARED = ("accuracy", "graph_breaks")
HEADER = ("name", *COMPARED)
TRUE = frozenset({"1", "true", "yes"})
#: Statuses that say nothing about a model: they are no difference, and don't replace an expectation.
SILENT = UNFINISHED | {Status.UNSUPPORTED, Status.SKIPPED, NO_ROW}


@dataclass(frozen=True)
class Outcome:
    """One model and column: `result` is PASS, XFAIL, IMPROVED, FAIL, either with _BUT_FLAKY, or MISSING:..."""

    name: str
    column: str
    result: str
    expected: str
    actual: str

    @property
    def exit_code(self) -> int:
        """3 for an unexpected value, 1 where one of the two is missing."""
        return {"FAIL": 3, "IMPROVED": 3}.get(self.result, int(self.result.startswith("MISSING")))


def read_expected(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a file of expectations. Raises UsageError."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            header, rows = list(reader.fieldnames or []), list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not {"name", "accuracy"} <= set(header):
        raise UsageError(f"{path} is no file of expectations: it has no columns name and accuracy")
    if any(None in row or None in row.values() for row in rows):
        raise UsageError(f"{path}: line {_ragged(rows)} has another number of fields than the header")
    return header, rows


def check(side: Side, path: Path) -> list[Outcome]:
    """Every model of the file and of the side, column by column."""
    header, rows = read_expected(path)
    actual = by_name(side)
    expected = {row["name"]: row for row in rows}
    said = {column for entry in side.entries for column in entry.row}
    columns = [column for column in COMPARED if column in header and column in said]
    return [
        _outcome(name, column, expected.get(name), actual.get(name))
        for name in {**expected, **actual}
        for column in columns
    ]


def update(side: Side, path: Path) -> int:
    """Write what the side found into the file, and return how many rows it changed or added; none is ever removed."""
    header, rows = read_expected(path) if path.exists() else (list(HEADER), [])
    found = {name: entry for name, entry in by_name(side).items() if entry.status not in SILENT}
    known = {row["name"] for row in rows}
    fresh = [{"name": name} for name in found if name not in known]
    after = [{**row, **_values(found[row["name"]], row)} if row["name"] in found else row for row in (*rows, *fresh)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*header, *(c for c in COMPARED if c not in header)], "", lineterminator="\n")
    writer.writeheader()
    writer.writerows(after)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, buffer.getvalue().encode())
    except OSError as error:
        raise UsageError(f"can't write {path}: {error.strerror}") from error
    return sum(row != before for row, before in zip(after, rows, strict=False)) + len(fresh)


def by_name(side: Side) -> dict[str, Entry]:
    """The side's rows by model. Raises UsageError where a model has several."""
    repeated = [name for name, n in Counter(entry.name for entry in side.entries).items() if n > 1]
    if repeated:
        raise UsageError(
            f"{side.path} has several rows of {repeated[0]}: expectations are of one configuration, "
            "give a run of one backend, precision and mode"
        )
    return {entry.name: entry for entry in side.entries}


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """The lines of everything that is not as expected, and the count of the results."""
    lines = [
        f"{o.result:18} {o.name}: {o.column} {o.actual or 'none'}, expected {o.expected or 'none'}"
        for o in outcomes
        if o.result not in ("PASS", "XFAIL")
    ]
    counts = Counter(outcome.result for outcome in outcomes)
    return [*lines, "expectations: " + ", ".join(f"{n} {result}" for result, n in sorted(counts.items()))]


def _outcome(name: str, column: str, row: dict[str, str] | None, entry: Entry | None) -> Outcome:
    expected = row[column] if row else ""
    actual = _values(entry).get(column, "") if entry else ""
    result = _result(column, expected, actual)
    if row is None:
        result = "MISSING:expected"
    elif entry is None or (result not in ("PASS", "XFAIL") and entry.status in SILENT):
        result = f"MISSING:{column}"
    elif result in ("FAIL", "IMPROVED") and row.get("flaky", "").lower() in TRUE:
        result += "_BUT_FLAKY"
    return Outcome(name, column, result, expected, actual)


def _result(column: str, expected: str, actual: str) -> str:
    if column == "graph_breaks":
        expected, actual = (text or "0" for text in (expected, actual))
        if expected == actual:
            return "PASS"
        better = expected.isdigit() and actual.isdigit() and int(actual) < int(expected)
        return "IMPROVED" if better else "FAIL"
    if expected == actual:
        return "PASS" if expected.startswith("pass") else "XFAIL"
    return "IMPROVED" if actual.startswith("pass") and not expected.startswith("pass") else "FAIL"


def _values(entry: Entry, before: dict[str, str] | None = None) -> dict[str, str]:
    """The compared columns of a row as text; a value that the row does not have stays as it was `before`."""
    found = {column: entry.row.get(column) for column in COMPARED}
    return {
        column: str(value) if value not in (None, "") else (before or {}).get(column, "")
        for column, value in found.items()
    }


def _ragged(rows: Sequence[dict[str, str]]) -> int:
    return next(i for i, row in enumerate(rows, 2) if None in row or None in row.values())
