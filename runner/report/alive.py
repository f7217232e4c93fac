"""How far the runs of a folder are, and whether anybody is still at work in it."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from runner.errors import UsageError
from runner.report.console import failure_text, plain
from runner.report.terminal import kind_of
from runner.results.columns import UNFINISHED, Row
from runner.results.reader import Run, read_one, run_folders, waiting_cells
from runner.results.run import CLAIM_FILE, REFUSAL_FILE, SWEEP_FILE, RunRecord, SweepRecord
from runner.results.status import is_failure

#: A run on another machine that hasn't written for this long is taken for dead: longer than a cell may take.
SILENCE_S = 2400.0
#: Failures that are shown, the latest ones.
NUM_ERRORS = 8
INODE = re.compile(r"[0-9a-f]+:[0-9a-f]+:(\d+) ")


@dataclass(frozen=True)
class Job:
    """One run of the watched folder.

    `counts` are its final rows by kind, `left` the names of models without a row, `current` the one of them that has
    begun, silent for `quiet_s`; `num_waiting` cells are to be measured a second time. `num_unfinished` cells were
    interrupted: only `resume` runs them again.
    """

    total: int
    counts: Mapping[str, int]
    left: tuple[str, ...]
    num_waiting: int
    num_unfinished: int
    current: str
    quiet_s: float
    durations_s: tuple[float, ...]
    alive: bool

    @property
    def num_left(self) -> int:
        """Cells that whoever is at work on the run has yet to do."""
        return len(self.left) + self.num_waiting


@dataclass(frozen=True)
class Progress:
    """A whole run or sweep. `open`: whether more is to be expected."""

    jobs: tuple[Job, ...]
    errors: tuple[str, ...]
    open: bool
    asked: int | None = None  # jobs that have cells of the sweep's shard, begun or not, where that is known
    refused: tuple[str, ...] = ()  # why jobs of the sweep have no run; they are not among the asked ones

    @property
    def total(self) -> int:
        """Cells of all jobs that have begun."""
        return sum(job.total for job in self.jobs)

    @property
    def done(self) -> int:
        """Cells with a final row that `resume` keeps."""
        return self.total - sum(job.num_left + job.num_unfinished for job in self.jobs)

    @property
    def running(self) -> list[Job]:
        """Jobs at work."""
        return [job for job in self.jobs if job.alive and job.num_left]

    @property
    def left_s(self) -> float | None:
        """Seconds until the jobs that have begun are done, if each cell takes as long as the median so far."""
        durations = [seconds for job in self.jobs for seconds in job.durations_s]
        if not durations or not self.running:
            return None
        return median(durations) * max(job.num_left for job in self.running)


def look(directory: Path) -> Progress:
    """Read the folder. Raises UsageError where it holds neither a run nor a sweep."""
    folders = sorted(run_folders(directory))
    if not folders and not (directory / SWEEP_FILE).is_file():
        raise UsageError(f"{directory} holds neither a run nor a sweep: there is no {RunRecord.FILE} in it or below")
    runs = [read_one(folder) for folder in folders]
    jobs = tuple(map(job_of, runs))
    # A job may still be queued while nobody measures: then the process that launched the sweep holds its folder.
    launching = is_held(directory / CLAIM_FILE) or any(job.alive for job in jobs)
    notes = list(refusals(directory))
    refused = tuple(reason for code, reason in notes if code != "0")
    return Progress(jobs, tuple(errors_of(runs)), launching, asked_jobs(directory, len(notes)), refused)


def refusals(directory: Path) -> Iterator[tuple[str, str]]:
    """Exit code and reason of each job of a sweep that has no run; code 0: none of its cells is in the shard."""
    if not (directory / SWEEP_FILE).is_file():
        return
    for note in directory.glob(f"**/{REFUSAL_FILE}"):
        try:
            code, _, reason = note.read_text(encoding="utf-8").partition("\n")[0].partition(" ")
        except FileNotFoundError:  # the job begins anew
            continue
        if not (note.parent / RunRecord.FILE).exists():  # else it has begun, and only its resuming was refused
            yield code, reason or "no reason was noted"  # a full disk leaves an empty file


def asked_jobs(directory: Path, num_refused: int) -> int | None:
    """Jobs of a sweep without those that were refused; None of a run, or where it isn't known.

    A refused job is refused again by `resume`, so it isn't left to do.
    """
    jobs = SweepRecord.load(directory).jobs if (directory / SWEEP_FILE).is_file() else None
    return jobs and jobs - num_refused


def job_of(run: Run) -> Job:
    """What is known of one run."""
    waiting = waiting_cells(run)
    current, last = running_cell(run)
    ended = [row for row in run.rows if row["cell_id"] not in waiting]
    final = [row for row in ended if row["status"] not in UNFINISHED]
    return Job(
        total=len(run.record.cells),
        counts=Counter(map(kind_of, final)),
        left=tuple(map(run.record.name, run.missing)),
        num_waiting=len(waiting),
        num_unfinished=len(ended) - len(final),
        current=run.record.name(current) if current else "",
        quiet_s=max(0.0, time.time() - last) if current else 0.0,
        durations_s=tuple(row["cell_s"] for row in run.rows if row.get("cell_s")),
        alive=is_alive(run, max(last, last_change(run.directory)), bool(run.missing or waiting)),
    )


def running_cell(run: Run) -> tuple[str, float]:
    """The cell without a row whose log was written to last, and when; `("", 0)` if none has a log."""
    found = ("", 0.0)
    for cell_id in run.missing:
        try:
            changed = (run.directory / "logs" / f"{cell_id}.log").stat().st_mtime
        except OSError:
            continue
        found = max(found, (cell_id, changed), key=lambda entry: entry[1])
    return found


def last_change(directory: Path) -> float:
    """When something was last written in a run's folder, not looking into the folders in it."""
    with os.scandir(directory) as entries:
        return max((entry.stat(follow_symlinks=False).st_mtime for entry in entries), default=0.0)


def is_alive(run: Run, changed: float, unfinished: bool) -> bool:
    """Whether a process is at work on the run; of another machine's, judged by when it last wrote."""
    if is_held(run.directory / CLAIM_FILE):
        return True
    here = run.record.environment.get("host") == os.uname().nodename and Path("/proc/locks").exists()
    return unfinished and not here and time.time() - changed < SILENCE_S


def is_held(path: Path) -> bool:
    """Whether a process of this machine holds a lock on the file.

    It is looked up and not tried: whoever tries holds it for a moment, and a job that starts then would be refused.
    """
    try:
        inode, locks = path.stat().st_ino, Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return False
    return str(inode) in INODE.findall(locks)


def errors_of(runs: Iterable[Run]) -> list[str]:
    """The last failures, a line each; how late one is, its log tells."""
    failed = [(log_time(run, row), i, row) for run in runs for i, row in enumerate(run.rows) if is_failure(row)]
    latest = sorted(failed, key=lambda entry: entry[:2])[-NUM_ERRORS:]
    return [f"{plain(row.get('name') or '')}  {failure_text(row)}" for _, _, row in latest]


def log_time(run: Run, row: Row) -> float:
    """When the cell last wrote to its log; 0 without one."""
    try:
        return (run.directory / row["log"]).stat().st_mtime if row.get("log") else 0.0
    except OSError:
        return 0.0
