"""Gathers what a report is about: runs, sweeps and CSV files, in whatever state they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.errors import UsageError
from runner.report.foreign import read_csv
from runner.results.columns import COMMON, Column, Row
from runner.results.reader import Run, read_one, read_run
from runner.results.run import RunRecord

#: Status of a cell that was asked for and has no row; in reports only, no file has it.
MISSING = "missing"
#: Columns shown of a CSV whose run.json isn't known; where it has none of them, its first own ones.
NUM_SHOWN = 6
HEADLINE = ("speedup", "verdict", "abs_latency", "compile_s", "compression_ratio", "accuracy")


@dataclass(frozen=True)
class Part:
    """The rows of one run, or of one CSV file. `label` is what the user gave; `record` is None for a lone file."""

    label: str
    directory: Path
    experiment: str
    columns: tuple[Column, ...]
    shown: tuple[Column, ...]
    rows: Sequence[Row]
    record: RunRecord | None = None
    dropped: int = 0
    foreign: bool = False


def gather(paths: Sequence[str]) -> list[Part]:
    """The parts of all `paths`, each once. Raises UsageError for one that doesn't exist or holds no results."""
    parts: dict[tuple[Path, str], Part] = {}
    for given in paths:
        for part in read(given):
            parts.setdefault((part.directory.resolve(), part.experiment), part)
    return list(parts.values())


def read(given: str) -> list[Part]:
    """The parts of one path."""
    path = Path(given)
    if path.is_dir():
        return [of_run(given, run) for run in read_run(path).runs]
    if not path.exists():
        raise UsageError(f"{given}: there is no such file or folder")
    if path.suffix == ".csv" and (path.parent / RunRecord.FILE).is_file():
        run = read_one(path.parent)
        if path.stem == run.record.experiment:
            return [of_run(given, run)]
    return of_csv(given, path)


def of_run(given: str, run: Run) -> Part:
    """A run with a row for every cell; those that have none get one that says so."""
    record = run.record
    lost = [missing_row(cell_id, record.cells[cell_id]) for cell_id in run.missing]
    shown = tuple(named(record.columns, record.summary) or [c for c in record.columns if c.headline])
    rows = [*run.rows, *lost]
    return Part(given, run.directory, record.experiment, record.columns, shown, rows, record, run.dropped)


def of_csv(given: str, path: Path) -> list[Part]:
    """A file by the experiments in it."""
    columns, rows, dropped, foreign = read_csv(path)
    by_experiment: dict[str, list[Row]] = {}
    for row in rows:
        by_experiment.setdefault(row.get("experiment") or path.stem, []).append(row)
    shown = tuple(named(columns, HEADLINE) or [c for c in columns if c not in COMMON][:NUM_SHOWN])
    return [
        Part(given, path, experiment, columns, shown, found, None, dropped if not i else 0, foreign)
        for i, (experiment, found) in enumerate(by_experiment.items() or [(path.stem, [])])
    ]


def named(columns: Sequence[Column], names: Sequence[str]) -> list[Column]:
    """Those of `names` that there are, in this order."""
    by_name = {column.name: column for column in columns}
    return [by_name[name] for name in names if name in by_name]


def missing_row(cell_id: str, config: Mapping[str, Any]) -> Row:
    """What is known of a cell without a row."""
    choices = config.get("choices", {})
    keys = ("suite", "experiment", "backend", "precision", "mode", "optimizer")
    return {
        "cell_id": cell_id,
        "name": config["model"]["name"],
        "dev": config.get("device", {}).get("type", ""),
        "batch_size": config.get("batch_size"),
        "task": config.get("experiment", {}).get("task", ""),
        **{key: choices.get(key, "") for key in keys},
        "status": MISSING,
        "error": "no row yet",
    }
