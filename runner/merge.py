"""`python -m runner merge DIR...`: one run, or one sweep, of the shards of one.

Shards are of the same command but for `select.shard`; whatever else differs is refused.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from runner.errors import UsageError
from runner.joining import runs as joining
from runner.report.terminal import print_summary
from runner.results.command import key
from runner.results.reader import read_one, read_run
from runner.results.run import SWEEP_FILE, RunRecord
from runner.results.status import exit_code
from runner.results.writer import WriteError


def main(argv: Sequence[str]) -> int:
    """Join the runs or sweeps of the folders given; returns the exit code that the whole would have had."""
    parser = argparse.ArgumentParser(
        prog="python -m runner merge",
        description="Join the shards (select.shard=1/3, 2/3, 3/3) of a run into one folder, or those of a sweep job by "
        "job; it can be reported, compared and resumed like any other.",
    )
    parser.add_argument("dir", type=Path, nargs="+", help="folders of the shards, or one that holds them")
    parser.add_argument("--into", type=Path, default=Path("merged"), help="new folder for the whole; default: merged")
    given = parser.parse_args(argv)
    try:
        absent = join(given.dir, given.into)
        code = summary(given.into)
    except (UsageError, WriteError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    if absent:
        words = ", ".join(f"select.shard={index}/{count}" for index, count in absent)
        print(f"not among these folders: {words}; merge them all to have every cell", file=sys.stderr)
    return max(code, int(bool(absent)))


def join(folders: Sequence[Path], into: Path) -> list[tuple[int, int]]:
    """Write `into`, a new folder, as the whole that the folders are shards of; returns the shards (i, n) that lack.

    Raises UsageError, WriteError.
    """
    found = [shard for folder in folders for shard in shards(folder)]
    sweeps = [folder for folder in found if (folder / SWEEP_FILE).is_file()]
    if into.exists() and not into.is_dir():
        raise UsageError(f"{into} is no folder: give a new or an empty one with --into")
    if into.exists() and any(into.iterdir()):
        raise UsageError(f"{into} is in use: give another folder with --into")
    if not sweeps:
        runs = [read_one(folder) for folder in found]
        if lone := [run.directory for run in runs if run.record.job is not None]:
            raise UsageError(f"{lone[0]} is one job of a sweep: merge the sweep's folder instead")
        joining.refuse_unlike(runs)
        joining.write(runs, into, joining.shared(runs[0].record.command))
        return absent_shards(run.record.command for run in runs)
    if len(sweeps) < len(found):
        run = next(folder for folder in found if folder not in sweeps)
        raise UsageError(f"{run} is a run and {sweeps[0]} a sweep: they are no shards of one command")
    from runner.joining.sweeps import Sweep
    from runner.joining.sweeps import join as join_sweeps

    loaded = [Sweep.load(folder) for folder in sweeps]
    join_sweeps(loaded, into)
    return absent_shards(sweep.record.command for sweep in loaded)


def absent_shards(commands: Iterable[Sequence[str]]) -> list[tuple[int, int]]:
    """The shards (i, n) that none of the commands asked for though one asked for another of the n."""
    # A sweep's word has several, in one of Hydra's notations.
    words = (word for command in commands for word in command if key(word) == "select.shard")
    present = {(int(index), int(count)) for word in words for index, count in re.findall(r"(\d+)/(\d+)", word)}
    wanted = {(index, count) for _, count in present for index in range(1, count + 1)}
    return sorted(wanted - present)


def shards(folder: Path) -> list[Path]:
    """The runs and sweeps in `folder`; a sweep's runs are part of it."""
    found = sorted(_topmost(folder))
    if not found:
        raise UsageError(f"{folder} holds no run: there is no {RunRecord.FILE} in it or below")
    return found


def _topmost(top: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(top):
        if {SWEEP_FILE, RunRecord.FILE} & set(files):
            subfolders.clear()
            yield Path(folder)


def summary(directory: Path) -> int:
    """Print what the whole holds; returns its exit code."""
    from runner import guard

    results = read_run(directory)
    print_summary(results, sys.stdout)
    lost = guard.lost_jobs(directory)
    if lost:
        jobs = f"{lost} job{'s' if lost > 1 else ''} of the sweep"
        print(f"{jobs} left nothing in these folders: python -m runner resume {directory}", file=sys.stderr)
    strict = "strict=true" in results.runs[0].record.command
    return max(exit_code(results.rows, len(results.missing) + lost, strict), guard.code_of_refusals(directory))
