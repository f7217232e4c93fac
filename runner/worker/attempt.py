"""One job in one child, watched: a single-threaded loop over its messages, its output, its limits and our signals."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from typing import Any

from runner.experiment import Outcome
from runner.results.columns import Status
from runner.worker import kernel
from runner.worker.child import WHERE_SIGNAL
from runner.worker.failure import one_line
from runner.worker.job import Job
from runner.worker.limits import Deadlines
from runner.worker.logfile import BoundedLog
from runner.worker.messages import Garbled, Message
from runner.worker.recorder import Listener, Recorder, signal_name
from runner.worker.servers import START_S, Child, ServerDied
from runner.worker.signals import Interrupts

#: Seconds for the child to say where it hangs, between a reached limit and the kill. TERM would be no help: a hang
#: with signals blocked ignores it, and a model that catches it may do anything.
WHERE_S = 0.5
#: Seconds for a child that has reported its result to be gone, and for a killed one (a driver may hold it).
EXIT_S, KILLED_S = 10.0, 60.0
#: Seconds of silence after which the listener hears a tick.
TICK_S = 1.0
#: Most that is read of the pipes once the job is over: they hold no more, unless somebody still writes.
_DRAIN_READS = 64


class Attempt:
    """Runs one job in `child` and makes its Outcome."""

    def __init__(self, job: Job, child: Child, listener: Listener, interrupts: Interrupts) -> None:
        self._job = job
        self._child = child
        self._listener = listener
        self._interrupts = interrupts
        self._selector = selectors.DefaultSelector()
        self._oom_kills = kernel.oom_kills()
        now = time.monotonic()
        self._deadlines = Deadlines(job.limits, job.max_time_s, now)
        self._recorder = Recorder(listener, self._deadlines)
        self._verdict: tuple[Status, str, str] | None = None  # status, error type and error where we end the job
        self._next: tuple[float, Callable[[], None]] = (now + START_S, self._never_started)
        self._over = False

    def run(self, message: Message, share: bool) -> Outcome:
        """Give the child its job, and return when it has ended; a shared child: when it has finished the job."""
        self._log = BoundedLog(self._job.log, self._job.limits.log_bytes)
        try:
            with self._selector:
                self._loop(message, share)
        finally:
            self._log.close()
        if self._log.failed is not None:
            self._listener.note(f"{self._job.log} is incomplete: {self._log.failed.strerror}")
        self._child.idle = share and self._recorder.finished and self._child.code is None and self._verdict is None
        return self._outcome()

    def _loop(self, message: Message, share: bool) -> None:
        self._watch(self._child.server.channel, self._hear_server)
        self._watch(self._child.server.output, self._hear_server_print)
        self._watch(self._interrupts, self._interrupted)
        try:
            while self._child.pid is None and not self._over:
                self._step()
            if not self._over:
                self._begin(message, share)
            while self._child.code is None and not self._over:
                self._step()
                self._over = self._over or (share and self._recorder.finished and self._verdict is None)
        except ServerDied as error:
            # With a cell under way it is the cell that did it: nothing else can reach the server.
            status = Status.CRASHED if self._recorder.phase else Status.INTERNAL_ERROR
            self._verdict = (status, "ServerDied", str(error))
        self._drain()

    def _begin(self, message: Message, share: bool) -> None:
        self._deadlines.start(time.monotonic())
        self._child.send(message, last=not share)
        self._watch(self._child.channel, self._hear_child)
        self._watch(self._child.log, self._hear_log)
        self._schedule()

    def _step(self) -> None:
        """Wait for something to happen, and let it."""
        at, action = self._next
        heard = self._selector.select(min(TICK_S, max(0.0, at - time.monotonic())))
        for key, _ in heard:
            key.data()
        if not heard:
            self._listener.tick()
        if at == self._next[0] and time.monotonic() >= at:
            action()

    def _watch(self, source: Any, heard: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, heard)

    def _hear_server(self) -> None:
        self._child.server.read()

    def _hear_server_print(self) -> None:
        if not self._child.server.hear():
            self._selector.unregister(self._child.server.output)

    def _hear_log(self) -> None:
        data = self._child.printed()
        if data is None:
            self._selector.unregister(self._child.log)
        else:
            self._log.write(data)

    def _hear_child(self) -> None:
        try:
            messages = self._child.messages()
        except Garbled as error:
            self._selector.unregister(self._child.channel)
            self._end(Status.CRASHED, "Garbled", str(error))
            return
        if messages is None:
            self._selector.unregister(self._child.channel)
            return
        for message in messages:
            self._recorder.take(message)
        self._schedule()

    def _schedule(self) -> None:
        """Say what happens next if nothing is heard."""
        if self._verdict is not None:
            return
        if self._deadlines.hopeless and not self._recorder.finished:
            self._end(Status.TIMEOUT, "cell_s", self._deadlines.hopeless)
        elif self._recorder.finished:
            self._next = (time.monotonic() + EXIT_S, self._kill)
        else:
            self._next = (self._deadlines.next()[0], self._timed_out)

    def _interrupted(self) -> None:
        self._selector.unregister(self._interrupts)
        if self._recorder.finished:
            return  # the result is there; whoever asks for the next job hears of the signal
        self._end(*self._interruption())

    def _interruption(self) -> tuple[Status, str, str]:
        name = signal_name(self._interrupts.number or 0)
        return Status.INTERRUPTED, name, f"ended by {name}"

    def _never_started(self) -> None:
        self._verdict = (Status.INTERNAL_ERROR, "ServerDied", f"the process that starts children took over {START_S} s")
        self._over = True

    def _timed_out(self) -> None:
        limit = self._deadlines.next()[1]
        what = f"phase {self._deadlines.phase.value}" if limit != "cell_s" and self._deadlines.phase else "the cell"
        allowed = self._deadlines.allowed(limit)
        self._verdict = (Status.TIMEOUT, limit, f"{what} took longer than limits.{limit}={allowed:g}")
        self._child.signal(WHERE_SIGNAL)
        self._next = (time.monotonic() + WHERE_S, self._kill)

    def _end(self, status: Status, error_type: str, error: str) -> None:
        self._verdict = (status, error_type, one_line(error))
        self._over = self._child.pid is None
        self._kill()

    def _kill(self) -> None:
        self._child.kill()
        self._next = (time.monotonic() + KILLED_S, self._give_up)

    def _give_up(self) -> None:
        self._over = True

    def _drain(self) -> None:
        """Take in what is left in the pipes."""
        for source in (self._child.server.channel, self._child.server.output, self._interrupts):
            if source in self._selector.get_map():
                self._selector.unregister(source)
        for _ in range(_DRAIN_READS):
            ready = self._selector.select(0)
            if not ready:
                return
            for key, _ in ready:
                key.data()

    def _outcome(self) -> Outcome:
        if self._recorder.finished:
            return self._recorder.outcome()
        if self._verdict is None and self._interrupts.number is not None:
            self._verdict = self._interruption()  # a signal to all processes of a job reached the child first
        if self._verdict is not None:
            return self._recorder.ended(*self._verdict, self._recorder.phase)
        assert self._child.code is not None
        return self._recorder.died(self._child.code, kernel.oom_kills() > self._oom_kills)
