"""Drives the cells: one attempt after the other, in children; rows go to disk the moment they are final."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runner.cells import Cell
from runner.errors import UsageError
from runner.experiment import Attempt, Experiment, Outcome
from runner.prewarm import Prewarmed
from runner.report.progress import Progress
from runner.results.columns import Phase, Row, Status
from runner.results.files import RunFiles
from runner.results.text import RowError
from runner.results.verdicts import word_of
from runner.results.writer import WriteError
from runner.worker.job import Job
from runner.worker.limits import Limits
from runner.worker.signals import Interrupted
from runner.worker.supervise import Listener, Supervisor

Attempts = Generator[Attempt, Outcome, Row]


@dataclass
class Execution:
    """One run in progress.

    `common` are the columns that all rows share, `command` gives the command that reproduces a cell.
    """

    experiment: Experiment
    files: RunFiles
    limits: Limits
    supervisor: Supervisor
    progress: Progress
    common: Row
    command: Callable[[Cell], str]
    prewarmed: Prewarmed = field(default_factory=Prewarmed)
    waiting: list[tuple[Cell, Attempts, Attempt]] = field(default_factory=list)
    pending: dict[str, Row] = field(default_factory=dict)  # cell_id -> its row in pending.csv
    seconds: dict[str, float] = field(default_factory=dict)  # cell_id -> wall time of its children so far
    phases: dict[str, dict[str, float]] = field(default_factory=dict)  # the same by phase
    running: Cell | None = None

    def run(self, cells: Sequence[Cell], prewarm: int = 0) -> None:
        """Give every cell its row, after compiling `prewarm` of them at a time.

        When interrupted, the rest get a row that says so, and Interrupted goes on.
        """
        unfinished = {cell.cell_id: cell for cell in cells}
        try:
            if prewarm:
                self._prewarm(cells, prewarm)
            for cell in cells:
                if self._first(cell, alone=len(cells) == 1):
                    del unfinished[cell.cell_id]
            for cell, attempts, attempt in self.waiting:
                self._drive(cell, attempts, attempt, deferring=False)
                del unfinished[cell.cell_id]
            self.supervisor.check()
        except KeyboardInterrupt as stop:  # a plain one under isolation=none, where signals belong to the debugger
            known = stop if isinstance(stop, Interrupted) else Interrupted(signal.SIGINT)
            self._abandon(list(unfinished.values()), known)
            raise known from None

    def _first(self, cell: Cell, alone: bool) -> bool:
        """Start a cell; False when it waits for the end of the run."""
        if cell.planned is not None:
            self._finish(cell, dict(cell.planned))
            return True
        return self._drive(cell, _attempts(self.experiment, cell), None, deferring=not alone)

    def _drive(self, cell: Cell, attempts: Attempts, attempt: Attempt | None, deferring: bool) -> bool:
        """Run attempts until the row is final (True) or an attempt is put off (False)."""
        self.progress.start(cell.name)
        self.running = cell
        while True:
            try:
                attempt = attempt or next(attempts)
                if attempt.deferred:
                    self._pend(cell, attempt, deferring)
                if attempt.deferred and deferring:
                    self.waiting.append((cell, attempts, attempt))
                    self.running = None
                    return False
                attempt = attempts.send(self._child(cell, attempt))
            except StopIteration as end:
                values = end.value
                break
            except (KeyboardInterrupt, UsageError, WriteError):
                attempts.close()
                raise
            except Exception as error:  # noqa: BLE001 - a defect in an experiment costs its cell only
                attempts.close()
                values = _defect(error)
                break
        self.running = None
        self._finish(cell, values)
        return True

    def _prewarm(self, cells: Sequence[Cell], at_once: int) -> None:
        todo = [cell for cell in cells if cell.planned is None]
        say = self.progress.say
        job = lambda cell, options: self._job(cell, Attempt(cell, options))  # noqa: E731 - too small for a name
        self.prewarmed.compile(todo, job, self.supervisor, at_once, say)

    def _job(self, cell: Cell, attempt: Attempt) -> Job:
        return Job(
            cell_id=cell.cell_id,
            config=attempt.cell.config,
            log=self._log(cell),
            artifacts=self.files.directory / "artifacts" / cell.cell_id,
            limits=self.limits.after(self.seconds.get(cell.cell_id, 0.0)),
            options=attempt.options,
            env=attempt.env,
        )

    def _child(self, cell: Cell, attempt: Attempt) -> Outcome:
        job = self.prewarmed.warmed(self._job(cell, attempt))
        listener = CellListener(cell, self.files, self.progress)
        try:
            outcome = self.supervisor.run(job, listener, self.experiment.share_child)
        except Interrupted as stop:
            self._took(cell, stop.outcome)
            raise
        self._took(cell, outcome)
        names = {column.name for column in self.files.rows.columns}
        return self.prewarmed.outcome(cell, job.options, outcome, names)

    def _took(self, cell: Cell, outcome: Outcome | None) -> None:
        if outcome is None:
            return
        self.seconds[cell.cell_id] = self.seconds.get(cell.cell_id, 0.0) + outcome.seconds
        phases = self.phases.setdefault(cell.cell_id, {})
        for phase, seconds in outcome.phases.items():
            phases[phase] = phases.get(phase, 0.0) + seconds

    def _pend(self, cell: Cell, attempt: Attempt, deferring: bool) -> None:
        """Keep what is known before the attempt, which may never end."""
        if attempt.pending is None or cell.cell_id in self.pending:
            return
        row = self._row(cell, attempt.pending)
        self.files.pend(row)
        self.pending[cell.cell_id] = row
        if deferring:
            self.progress.defer(row)

    def _finish(self, cell: Cell, values: Row) -> None:
        try:
            row = self._row(cell, values)
            self.files.append(row)
        except RowError as error:
            row = self._row(cell, _defect(error))
            self.files.append(row)
        self.progress.finish(row)

    def _row(self, cell: Cell, values: Row) -> Row:
        """The whole row. Raises RowError where `values` say no status, or none that there is."""
        try:
            status = Status(values["status"])
        except (TypeError, KeyError, ValueError) as error:
            raise RowError(f"a row without a valid status: {values!r:.200}") from error
        log = self._log(cell)
        found = {"log": str(log.relative_to(self.files.directory))} if log.exists() else {}
        spent: Row = {}
        if cell.cell_id in self.seconds:
            phases = ";".join(f"{phase}={seconds:.3f}" for phase, seconds in self.phases[cell.cell_id].items())
            spent = {"cell_s": round(self.seconds[cell.cell_id], 3), "phase_s": phases}
        row = {**cell.row(), **self.common, **found, **spent, "command": self.command(cell), **values}
        # A device that isn't there, or a package that only a backend misses, is no failure to load the model.
        unrelated = status is Status.UNSUPPORTED and row.get("phase") != Phase.LOAD.value
        return {**row, "accuracy": row.get("accuracy") or ("" if unrelated else word_of(status))}

    def _log(self, cell: Cell) -> Path:
        return self.files.directory / "logs" / f"{cell.cell_id}.log"

    def _abandon(self, cells: Sequence[Cell], stop: Interrupted) -> None:
        """A row for each cell that has none; a pending one is final now, as nothing will follow it."""
        for _, attempts, _ in self.waiting:
            attempts.close()
        for cell in cells:
            if cell.cell_id in self.pending:
                self.files.append(self.pending[cell.cell_id])
            else:
                self._finish(cell, self._abandoned(cell, stop))

    def _abandoned(self, cell: Cell, stop: Interrupted) -> Row:
        if cell.planned is not None:
            return dict(cell.planned)
        if cell is self.running and stop.outcome is not None:
            return stop.outcome.row
        when = "while it ran" if cell is self.running else "before it was started"
        return {"status": Status.INTERRUPTED.value, "error_type": str(stop), "error": f"{stop} {when}"}


@dataclass
class CellListener(Listener):
    """Passes what a child says to the files and to the progress line."""

    cell: Cell
    files: RunFiles
    progress: Progress

    def phase(self, name: str) -> None:
        """The child enters a phase."""
        self.progress.phase(name)

    def table(self, name: str, rows: Sequence[Row]) -> None:
        """Rows of a long table."""
        self.files.table(self.cell.cell_id, self.cell.name, name, rows)

    def samples(self, arrays: Mapping[str, Sequence[float]]) -> None:
        """Raw samples."""
        self.files.samples(self.cell.cell_id, arrays)

    def waiting(self, text: str) -> None:
        """Another run holds the device."""
        self.progress.waiting(text)

    def tick(self) -> None:
        """Time goes by."""
        self.progress.tick()


def _attempts(experiment: Experiment, cell: Cell) -> Attempts:
    """A generator whatever `attempts` is, so that what it raises is raised where it is driven."""
    return (yield from experiment.attempts(cell))


def _defect(error: Exception) -> Row:
    """The row of a cell whose experiment failed in the parent."""
    traceback.print_exception(error)
    return {
        "status": Status.INTERNAL_ERROR.value,
        "error_type": type(error).__name__,
        "error": f"the experiment's own code failed: {error}",
    }
