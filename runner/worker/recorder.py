"""What the parent knows of a running job: the values so far, its phase, and in the end its outcome."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from runner.errors import UsageError
from runner.experiment import Outcome
from runner.results.columns import Phase, Row, Status
from runner.worker.limits import Deadlines
from runner.worker.messages import Message

#: Columns that an experiment may set in a row it yields and that belong to the outcome itself.
_OWN = ("status", "phase", "error_type", "error")
#: Statuses that say more than what failed later.
VERDICTS = {status.value for status in Status} - {Status.OK.value}


class Listener:
    """Hears of a job's progress while it runs; overrides what it wants to hear. What it raises ends child and run."""

    def phase(self, name: str) -> None:
        """The job entered a phase."""

    def values(self, row: Row) -> None:
        """The experiment yielded a row."""

    def table(self, name: str, rows: Sequence[Row]) -> None:
        """Rows for a long table."""

    def samples(self, arrays: Mapping[str, Sequence[float]]) -> None:
        """Raw samples."""

    def waiting(self, text: str) -> None:
        """The device is held by another process."""

    def note(self, text: str) -> None:
        """Something that the user should know and no row says: an incomplete log."""

    def tick(self) -> None:
        """Nothing happened for a second."""


class Recorder:
    """Takes a child's messages."""

    def __init__(self, listener: Listener, deadlines: Deadlines) -> None:
        self._listener = listener
        self._deadlines = deadlines
        self._values: Row = {}
        self._failed: Message | None = None
        self._misused: str | None = None
        self._where = ""
        self._started = self._entered = time.monotonic()
        self._phases: dict[str, float] = {}
        self.finished = False

    def take(self, message: Message) -> None:
        """Note one message and pass it on."""
        kind = message["kind"]
        if kind == "phase":
            self._enter(message["phase"])
        elif kind == "call":
            self._deadlines.expect_call(message["seconds"], message["more"], time.monotonic())
        elif kind == "values":
            self._values |= message["values"]
            self._listener.values(message["values"])
        elif kind == "table":
            self._listener.table(message["name"], message["rows"])
        elif kind == "samples":
            self._listener.samples(message["arrays"])
        elif kind == "where":
            self._where = message["text"]
        else:
            self.finished = True
            self._failed = message if kind == "failed" else None
            self._misused = message["message"] if kind == "misused" else None

    def _enter(self, name: str | None) -> None:
        phase = None if name is None else Phase(name)
        self._count_phase()
        self._deadlines.enter(phase, self._entered)
        if phase is not None:
            self._listener.phase(phase.value)

    def _count_phase(self) -> None:
        """Add the time since the last change of phase to the phase that ends now."""
        now = time.monotonic()
        if self.phase is not None:
            name = self.phase.value
            self._phases[name] = self._phases.get(name, 0.0) + now - self._entered
        self._entered = now

    def outcome(self) -> Outcome:
        """How the job ended, by its own account; only when `finished`. Raises UsageError for a wrong configuration."""
        if self._misused is not None:
            raise UsageError(self._misused)
        if self._failed is not None:
            failed = self._failed
            phase = Phase(failed["phase"]) if failed["phase"] else None
            return self.ended(Status(failed["status"]), failed["type"], failed["message"], phase)
        own = {key: self._values.get(key) or "" for key in _OWN}
        try:
            status = Status(own["status"] or Status.OK)
            phase = Phase(own["phase"]) if own["phase"] else None
        except ValueError as error:
            return self.ended(Status.INTERNAL_ERROR, "ValueError", f"the experiment yielded a wrong value: {error}")
        return self.ended(status, own["error_type"], own["error"], phase)

    def died(self, code: int, out_of_memory: bool) -> Outcome:
        """How the job ended when its process went without a word; `code` is minus the signal."""
        if code == -signal.SIGKILL and out_of_memory:
            return self.ended(Status.OOM, "SIGKILL", "killed because the memory cgroup was full", self.phase)
        if code < 0:
            name = signal_name(-code)
            return self.ended(Status.CRASHED, name, f"the process died of {name}", self.phase)
        return self.ended(
            Status.CRASHED, "exit", f"the process left with exit code {code} before it was done", self.phase
        )

    @property
    def phase(self) -> Phase | None:
        """The phase that the job is in."""
        return self._deadlines.phase

    def ended(self, status: Status, error_type: str, error: str, phase: Phase | None = None) -> Outcome:
        """An outcome with the values so far. A verdict that was yielded stands, whatever happened afterwards."""
        self._count_phase()
        values = {key: value for key, value in self._values.items() if key not in _OWN}
        error = "; ".join(filter(None, (error, self._where)))
        known = self._values.get("status")
        if known in VERDICTS - {status.value} and status is not Status.INTERRUPTED:
            later = f"later, in {phase.value}, {error_type}: {error}" if phase else f"later, {error_type}: {error}"
            error = "; ".join(filter(None, (self._values.get("error"), later)))
            status, error_type = Status(known), self._values.get("error_type") or ""
            phase = Phase(self._values["phase"]) if self._values.get("phase") else None
        return Outcome(status, phase, error_type, error, values, time.monotonic() - self._started, self._phases)


def signal_name(number: int) -> str:
    """SIGSEGV for 11."""
    known: dict[int, Any] = {s.value: s.name for s in signal.Signals}
    return str(known.get(number, f"signal {number}"))
