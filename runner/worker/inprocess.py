"""isolation=none: the job runs in this process, for debuggers. No limits, no log, a crash takes everything down."""

from __future__ import annotations

import dataclasses
import os
import signal
import time

from runner.experiment import Outcome
from runner.results.columns import Status
from runner.worker import toolchain
from runner.worker.environment import tuning_of
from runner.worker.job import Job
from runner.worker.limits import Deadlines
from runner.worker.messages import Decoder, Message, encode
from runner.worker.perform import perform
from runner.worker.recorder import Listener, Recorder
from runner.worker.signals import Interrupted


def run_here(job: Job, listener: Listener) -> Outcome:
    """Run `job` here. The process is not pinned, and `job.env` comes too late for what torch reads at its start."""
    recorder = Recorder(listener, Deadlines(job.limits, job.max_time_s, time.monotonic()))
    decoder = Decoder()

    def send(message: Message) -> None:  # through JSON as from a child, so that values are the same
        for heard in decoder.feed(encode(message)):
            recorder.take(heard)

    before = {name: os.environ.get(name) for name in job.env}
    os.environ.update(job.env)
    try:
        if job.compiles_for_cpu:
            toolchain.have_header()
        tuning = dataclasses.replace(tuning_of({**job.config, "device": job.placed}), cpus=None)
        send(perform(job.message(tuning), send, through=(KeyboardInterrupt,)))
    except KeyboardInterrupt as error:
        name = signal.SIGINT.name
        raise Interrupted(signal.SIGINT, recorder.ended(Status.INTERRUPTED, name, f"ended by {name}")) from error
    finally:
        for variable, value in before.items():
            os.environ.pop(variable)
            if value is not None:
                os.environ[variable] = value
    return recorder.outcome()
