"""The parent's view of children: one job at a time, each ending in an Outcome, whatever it does to its process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Self

from runner.devices.lease import Lease, lease
from runner.experiment import Outcome
from runner.parallel import nproc_of
from runner.results.columns import Status
from runner.worker import kernel
from runner.worker.attempt import Attempt
from runner.worker.environment import cpu_sets_of, environment, tuning_of
from runner.worker.inprocess import run_here
from runner.worker.job import Job
from runner.worker.recorder import Listener
from runner.worker.servers import Child, Server, ServerDied, Servers
from runner.worker.signals import Interrupted, Interrupts

__all__ = ["Interrupted", "Listener", "Supervisor"]


def make_servers(isolation: str) -> Servers:
    """The processes that start children; they end with this one at the latest."""
    return Servers(preload=isolation == "fork")


class Supervisor:
    """Runs jobs in children, one at a time. A context: at its end no process that it started is left.

    `isolation` is fork, spawn or none. With `servers` given, those stay for the next supervisor. SIGINT and SIGTERM
    that come meanwhile end the running child; `run` then raises Interrupted with the outcome, and so does every later
    `run` and `check`.
    """

    def __init__(self, isolation: str, servers: Servers | None = None) -> None:
        kernel.refuse(isolation)
        self._isolation = isolation
        self._kept = servers is not None
        self._servers = servers or make_servers(isolation)
        self._environment = dict(os.environ)
        self._shared: Child | None = None
        self._interrupts = Interrupts()

    def __enter__(self) -> Self:
        if self._isolation != "none":  # there the signals belong to the debugger
            self._interrupts.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._kept:
            self._waiting_child({}, share=False)
        else:
            self._servers.close()
        if self._isolation != "none":
            self._interrupts.__exit__()

    def check(self) -> None:
        """Raise Interrupted if a signal came."""
        self._interrupts.check()

    def run(self, job: Job, listener: Listener, share: bool = False) -> Outcome:
        """Run `job` and say how it ended. With `share` the child is kept for the next job that shares.

        The cell's device is leased meanwhile. Raises Interrupted, whatever `listener` raises, and UsageError for
        threads or CPUs that there are not.
        """
        with self.leased(job, listener) as held:
            return self.run_on(held, job, listener, share)

    def leased(self, job: Job, listener: Listener) -> AbstractContextManager[Lease]:
        """The devices that `job` needs."""
        self.check()
        here, sets = self._isolation == "none", cpu_sets_of(job.config)
        count = nproc_of(job.config)
        return lease(job.config["device"], sets, listener.waiting, self.check, not here, count=count)

    def run_on(self, held: Lease, job: Job, listener: Listener, share: bool = False) -> Outcome:
        """As `run`, on devices that are leased already."""
        self.check()
        placed = replace(job, device=held.device, env={**job.env, **held.env}, flags=held.flags)
        return run_here(placed, listener) if self._isolation == "none" else self._run(placed, listener, share)

    def another(self) -> Supervisor:
        """One more supervisor, for another thread, that hears of signals through this one; whoever asks closes it."""
        other = Supervisor(self._isolation)
        other._interrupts = self._interrupts
        return other

    def close(self) -> None:
        """End what `another` gave."""
        self._servers.close()

    def _run(self, job: Job, listener: Listener, share: bool) -> Outcome:
        tuning = tuning_of({**job.config, "device": job.placed})
        env = environment(self._environment, job, tuning)
        header = job.compiles_for_cpu
        child = self._waiting_child(env, share, header) or self._servers.get(env, header).start_child()
        server = child.server
        try:
            outcome = Attempt(job, child, listener, self._interrupts).run(job.message(tuning), share)
        except BaseException:
            self._servers.discard(server)  # and the child with it, whose state is unknown
            raise
        self._settle(server, child)
        if outcome.status is not Status.OK and self._interrupts.number is not None:
            raise Interrupted(self._interrupts.number, outcome)
        return outcome

    def _waiting_child(self, env: Mapping[str, str], share: bool, header: bool = False) -> Child | None:
        """Give the shared child, if it will do; if not, end it."""
        child, self._shared = self._shared, None
        if child is None or (share and child.server is self._servers.get(env, header)):
            return child
        try:
            child.server.end_child()
        except ServerDied:
            self._servers.discard(child.server)
        return None

    def _settle(self, server: Server, child: Child) -> None:
        """After a job: the child goes on (shared), is gone, or takes its server with it."""
        if child.code is not None:
            child.close()
        elif child.idle:
            self._shared = child
        else:
            self._servers.discard(server)
