"""`python -m runner resume DIR`, and what a run does with a directory that was used before."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from runner.errors import UsageError
from runner.results.columns import Row
from runner.results.command import hydra_value, key
from runner.results.reader import read_one, waiting_cells
from runner.results.run import SWEEP_FILE, RunRecord, SweepRecord
from runner.results.status import cells_to_run

#: Keys of a command that decide none of its cells: `resume` sets them.
STEERING = frozenset({"resume", "other_env", "hydra.run.dir", "hydra.sweep.dir"})


def main(argv: Sequence[str]) -> int:
    """Replay the command that DIR records, for the cells that are not final; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m runner resume",
        description="Run the cells of DIR that have no row, or were interrupted, with the command that DIR records.",
    )
    parser.add_argument("dir", type=Path, help="folder of a run or of a sweep")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--failed", action="store_true", help="also the cells that failed")
    again.add_argument("--all", action="store_true", help="all cells")
    parser.add_argument("--other-env", action="store_true", help="also under another torch, device or thread count")
    given = parser.parse_args(argv)
    which = "all" if given.all else "failed" if given.failed else "missing"
    try:
        words, cwd = replay(given.dir.absolute(), which, given.other_env)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    if not cwd.is_dir():
        print(f"{given.dir} was started in {cwd}, which is gone", file=sys.stderr)
        return 2
    from runner.launch import hydra_run

    os.chdir(cwd)
    return hydra_run(words)


def replay(directory: Path, which: str, other_env: bool) -> tuple[list[str], Path]:
    """The arguments that continue `directory`, and the folder to start in."""
    if (directory / SWEEP_FILE).is_file():
        sweep = SweepRecord.load(directory)
        command, cwd, place = sweep.command, sweep.cwd, "hydra.sweep.dir"
    else:
        run = RunRecord.load(directory)
        if run.job is not None:
            raise UsageError(f"{directory} is one job of a sweep: resume the sweep's folder instead")
        if run.command[:1] == ("rerun",):
            raise UsageError(
                f"{directory} was made by rerun, which can't be resumed: run its command once more, into a new folder: "
                f"python -m runner {shlex.join(run.command)}"
            )
        command, cwd, place = run.command, run.cwd, "hydra.run.dir"
    kept = [word for word in command if key(word) not in {"resume", "other_env", place}]
    own = [f"resume={which}", f"{place}={hydra_value(str(directory))}", *(["other_env=true"] if other_env else [])]
    return [*kept, *own], Path(cwd)


def open_run(directory: Path, record: RunRecord, which: str | None, other_env: bool, strict: bool) -> list[str]:
    """Write run.json, or check that the one there is of the same run; returns the ids of the cells to run."""
    if not (directory / RunRecord.FILE).exists():
        record.write(directory)
        return list(record.cells)
    if which is None:
        raise UsageError(f"{directory} holds the results of another run: choose another directory or resume it")
    before = RunRecord.load(directory)
    if set(before.cells) != set(record.cells):
        raise UsageError(other_cells(directory, before, record))
    if before.env_id != record.env_id and not other_env:
        raise UsageError(
            f"{directory} was measured in another environment ({differences(before, record)}): "
            "results would not be comparable; add --other-env (other_env=true) to go on all the same"
        )
    return cells_to_run(record.cells, read_one(directory).rows, which, strict)


def left_pending(directory: Path) -> list[Row]:
    """Rows of a run that was killed whose second measurement won't come: they are final now."""
    run = read_one(directory)
    waiting = waiting_cells(run)
    return [row for row in run.rows if row["cell_id"] in waiting]


def other_cells(directory: Path, before: RunRecord, now: RunRecord) -> str:
    """Why cells that aren't those of run.json don't run in its folder, and what to do."""
    absent = f"{len(set(now.cells) - set(before.cells))} of {len(now.cells)} cells are not in its run.json"
    if _own(before.command) != _own(now.command):
        told = f"{directory} is of another configuration: {absent}"
        return f"{told}; resume it with `python -m runner resume {directory}`"
    if set(before.cells) < set(now.cells):
        told = f"{directory} lacks cells of its command, as a merge without all shards does: {absent}"
        return f"{told}; merge again with the missing shard, or run the command anew, into another folder"
    told = f"{directory} is of the same command, which makes other cells now: {absent}"
    return f"{told}; run the command anew, into another folder"


def _own(command: Sequence[str]) -> list[str]:
    """The words that the user chose."""
    return [word for word in command if key(word) not in STEERING]


def differences(before: RunRecord, now: RunRecord) -> str:
    """What decides the environment's identity and differs."""
    old, new = before.environment.get("deciding", {}), now.environment.get("deciding", {})
    parts = [f"{name}: {old.get(name)} then, {new.get(name)} now" for name in new if old.get(name) != new.get(name)]
    return "; ".join(parts) or f"{before.env_id} then, {now.env_id} now"
