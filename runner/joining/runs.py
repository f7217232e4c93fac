"""Shards of a run, and what may differ between them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from runner.errors import UsageError
from runner.results.columns import Row
from runner.results.command import key
from runner.results.files import RunFiles
from runner.results.reader import Run, read_table

#: What shards may differ in.
OWN_WORDS = frozenset({"select.shard", "hydra.run.dir", "hydra.sweep.dir", "resume", "other_env"})
#: Fields of their records in which they must agree, with what to call them.
SAME = {"experiment": "experiments", "columns": "columns", "tables": "tables"}
#: Folders with files of single cells.
BY_CELL = ("logs", "samples", "artifacts")
LOCKS = shutil.ignore_patterns(".*.lock")


def shared(words: Iterable[str]) -> tuple[str, ...]:
    """The words of a command line without those that shards may differ in."""
    return tuple(word for word in words if key(word) not in OWN_WORDS)


def refuse_unlike(runs: Sequence[Run]) -> None:
    """Raise UsageError unless the runs are shards of one: of one configuration, and no cell in two of them."""
    first = runs[0]
    for run in runs[1:]:
        refuse_different(first.directory, first.record.overrides, run.directory, run.record.overrides)
        refuse_moved(first, run)
        for name, word in SAME.items():
            if getattr(run.record, name) != getattr(first.record, name):
                both = f"{first.directory} and {run.directory}"
                raise UsageError(f"{both} have different {word}: they are no shards of one run")
    _refuse_repeated(runs)


def refuse_different(one: Path, words: Iterable[str], other: Path, others: Iterable[str]) -> None:
    """Raise UsageError where two folders were asked for different things; the sentence says which."""
    differing = set(shared(words)) ^ set(shared(others))
    if differing:
        raise UsageError(f"{one} and {other} were configured differently: {' '.join(sorted(differing))}")


def refuse_moved(one: Run, other: Run) -> None:
    """Raise UsageError where two runs were measured in different environments."""
    if one.record.env_id == other.record.env_id:
        return
    first, second = (run.record.environment.get("deciding", {}) for run in (one, other))
    parts = [f"{name}: {first.get(name)} and {second.get(name)}" for name in first if first[name] != second.get(name)]
    told = "; ".join(parts) or f"{one.record.env_id} and {other.record.env_id}"
    raise UsageError(f"{one.directory} and {other.directory} were measured in different environments ({told})")


def _refuse_repeated(runs: Sequence[Run]) -> None:
    owner: dict[str, Path] = {}
    for run in runs:
        for cell_id in run.record.cells:
            if cell_id in owner:
                name = run.record.name(cell_id)
                raise UsageError(f"{owner[cell_id]} and {run.directory} both have the cell of {name} ({cell_id})")
            owner[cell_id] = run.directory


def write(runs: Sequence[Run], into: Path, command: Sequence[str], sweep: Path | None = None) -> None:
    """Write `into` as the run that the shards are parts of, with the command that started it. Raises WriteError.

    With `sweep` it is a job of the sweep in that folder.
    """
    first = runs[0].record
    whole = replace(
        first,
        cells={cell_id: config for run in runs for cell_id, config in run.record.cells.items()},
        planned={cell_id: row for run in runs for cell_id, row in run.record.planned.items()},
        command=tuple(command),
        overrides=shared(first.overrides),
        job=first.job if sweep else None,
    )
    files = RunFiles(into, whole.write(into), sweep)
    for run in runs:
        _copy(run, files)


def _copy(run: Run, files: RunFiles) -> None:
    for row in run.rows:
        files.append(row)
    for name, table in files.tables.items():
        rows: Sequence[Row] = read_table(run.directory / f"{name}.csv", table.columns).rows
        table.append(*rows)
    for folder in BY_CELL:
        if (run.directory / folder).is_dir():
            shutil.copytree(run.directory / folder, files.directory / folder, ignore=LOCKS, dirs_exist_ok=True)
