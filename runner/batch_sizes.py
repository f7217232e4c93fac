"""Batch sizes by model name from a file: `select.batch_size_file`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from runner.errors import UsageError

#: Column of experiment=batch_size that holds the answer.
LARGEST = "largest_batch_size"
#: Columns of its CSV that have to be those of the run.
SAME = ("suite", "dev", "mode", "precision")
_LINE = re.compile(r"(\S+?)\s*[,\s]\s*(-?\d+)")


def read(path: str, run: Mapping[str, str | None]) -> dict[str, int]:
    """Model -> batch size, of lines `name,N` or `name N` (upstream's lists), or of a CSV of experiment=batch_size.

    `run` has the run's values of the columns `SAME`: rows of such a CSV with other values are left out. Raises
    UsageError for a file or a line that can't be read, and for a size below 1.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"select.batch_size_file={path} can't be read: {error}") from error
    header = lines[0].split(",") if lines else []
    return _rows(path, lines, run) if LARGEST in header else _lines(path, lines)


def _lines(path: str, lines: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = _LINE.fullmatch(text)
        if not match or int(match[2]) < 1:
            raise UsageError(f"select.batch_size_file={path}, line {number}: '{text}' is not `name,N` with N above 0")
        found[match[1]] = int(match[2])
    return found


def _rows(path: str, lines: Iterable[str], run: Mapping[str, str | None]) -> dict[str, int]:
    reader = csv.DictReader(lines)
    found: dict[str, int] = {}
    for row in reader:
        text = row[LARGEST]
        if not text or any((row.get(key) or None) != run.get(key) for key in SAME):
            continue
        if not text.isdecimal() or int(text) < 1:
            where = f"select.batch_size_file={path}, line {reader.line_num}"
            raise UsageError(f"{where}: {LARGEST} is '{text}', which is not a whole number above 0")
        found[row["name"]] = int(text)
    if not found:
        wanted = " ".join(f"{key}={value}" for key, value in run.items() if value)
        raise UsageError(f"select.batch_size_file={path} holds no batch size that was found for {wanted}")
    return found
