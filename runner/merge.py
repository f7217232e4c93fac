"""`python -m runner merge DIR...`: one run of the shards of one.

Shards are runs of the same command but for `select.shard`; whatever else differs is refused.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runner.errors import UsageError
from runner.report.terminal import print_summary
from runner.results.columns import Row
from runner.results.command import key
from runner.results.files import RunFiles
from runner.results.reader import Run, read_one, read_run, read_table, run_folders
from runner.results.run import RunRecord
from runner.results.status import exit_code
from runner.results.writer import WriteError

#: What shards may differ in.
OWN_WORDS = frozenset({"select.shard", "hydra.run.dir", "hydra.sweep.dir", "resume", "other_env"})
#: Fields of their records in which they must agree, with what to call them.
SAME = {"experiment": "experiments", "columns": "columns", "tables": "tables", "env_id": "environments"}
#: Folders with files of single cells.
BY_CELL = ("logs", "samples", "artifacts")
LOCKS = shutil.ignore_patterns(".*.lock")


def main(argv: Sequence[str]) -> int:
    """Join the runs of the folders given; returns the exit code that the whole run would have had."""
    parser = argparse.ArgumentParser(
        prog="python -m runner merge",
        description="Join the shards of a run (select.shard=1/3, 2/3, 3/3) into one folder that can be resumed.",
    )
    parser.add_argument("dir", type=Path, nargs="+", help="folders of the shards, or one that holds them")
    parser.add_argument("--into", type=Path, default=Path("merged"), help="new folder for the whole; default: merged")
    given = parser.parse_args(argv)
    try:
        runs = shards(given.dir)
        merge(runs, given.into)
        results = read_run(given.into)
    except (UsageError, WriteError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print_summary(results, sys.stdout)
    strict = any(word == "strict=true" for word in runs[0].record.command)
    return exit_code(results.rows, len(results.missing), strict)


def shards(folders: Sequence[Path]) -> list[Run]:
    """The runs in `folders`, of one configuration. Raises UsageError where there is none, or they don't fit."""
    found = [run for folder in folders for run in map(read_one, _runs_in(folder))]
    first = found[0]
    for run in found[1:]:
        for name, word in SAME.items():
            if getattr(run.record, name) != getattr(first.record, name):
                both = f"{first.directory} and {run.directory}"
                raise UsageError(f"{both} have different {word}: they are no shards of one run")
        one, other = _words(first.record), _words(run.record)
        if one != other:
            differing = " ".join(sorted(one ^ other))
            raise UsageError(f"{first.directory} and {run.directory} were configured differently: {differing}")
    _refuse_repeated(found)
    return found


def _runs_in(folder: Path) -> list[Path]:
    runs = sorted(run_folders(folder))
    if not runs:
        raise UsageError(f"{folder} holds no run: there is no {RunRecord.FILE} in it or below")
    return runs


def _words(record: RunRecord) -> frozenset[str]:
    """What decided the cells, of a single run or a job."""
    return frozenset(word for word in record.overrides if key(word) not in OWN_WORDS)


def _refuse_repeated(runs: Sequence[Run]) -> None:
    owner: dict[str, Path] = {}
    for run in runs:
        for cell_id in run.record.cells:
            if cell_id in owner:
                name = run.record.name(cell_id)
                raise UsageError(f"{owner[cell_id]} and {run.directory} both have the cell of {name} ({cell_id})")
            owner[cell_id] = run.directory


def merge(runs: Sequence[Run], into: Path) -> None:
    """Write `into` as the run that the shards are parts of. Raises UsageError where the folder is used, WriteError."""
    if into.exists() and any(into.iterdir()):
        raise UsageError(f"{into} is in use: give another folder with --into")
    first = runs[0].record
    whole = replace(
        first,
        cells={cell_id: config for run in runs for cell_id, config in run.record.cells.items()},
        planned={cell_id: row for run in runs for cell_id, row in run.record.planned.items()},
        command=tuple(word for word in first.command if key(word) not in OWN_WORDS),
        overrides=tuple(word for word in first.overrides if key(word) not in OWN_WORDS),
        job=None,
    )
    files = RunFiles(into, whole.write(into))
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
