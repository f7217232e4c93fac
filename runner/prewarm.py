"""`prewarm=N`: compile all cells, N at a time, into caches that the measuring pass then finds.

Measuring has a device to itself; compiling keeps one core busy and the device idle. So the device is leased once, and
each cell's compilation runs in a child of its own, with the threads that it will be measured with, since generated
code depends on them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from runner.cells import Cell
from runner.errors import UsageError
from runner.experiment import Outcome
from runner.results.columns import Status
from runner.results.command import key
from runner.worker.job import Job
from runner.worker.recorder import Listener
from runner.worker.supervise import Supervisor

#: How an experiment's children are told to stop after compiling, and where the caches are.
ONLY_COMPILE, CACHES = "only_compile", "caches"
#: What inductor and Triton write for a kernel.
GENERATED = ("*.py", "*.cpp", "*.ttir")
#: Seconds between two looks at whether the run was interrupted.
POLL_S = 0.5
COLD, PREWARMED = "cold", "prewarmed"
#: Cells are what runs side by side. Inductor's own pool would import torch once more for each of them, and where there
#: is nothing left to compile it would still be starting when the warm-up waits for its end.
ONE_THREAD = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}


def refuse(cfg: DictConfig, experiment: Any, overrides: Sequence[str]) -> None:
    """Raise UsageError where `prewarm` can't be had."""
    if cfg.prewarm < 0:
        raise UsageError(f"prewarm={cfg.prewarm}: give the number of compilations at a time, 0 for none")
    if not cfg.prewarm:
        return
    if not hasattr(experiment, "cache"):
        raise UsageError(f"prewarm={cfg.prewarm}: this experiment doesn't measure what compiling alone could prepare")
    if any(key(word) == "experiment.cache" for word in overrides):
        raise UsageError("prewarm and experiment.cache both say what the compiler finds on disk: give one of them")
    if cfg.isolation.name == "none":
        raise UsageError("prewarm needs processes of its own: leave isolation at fork or spawn")


class Prewarmed:
    """The caches of cells that were compiled before they are measured; `folder` is theirs alone, for `compile`."""

    def __init__(self, folder: str = "") -> None:
        self._folder = Path(folder)
        self._warm: dict[str, str] = {}

    def compile(
        self,
        cells: Sequence[Cell],
        job_of: Callable[[Cell, Mapping[str, Any]], Job],
        supervisor: Supervisor,
        at_once: int,
        say: Callable[[str], None],
    ) -> None:
        """Compile the cells' models. One that fails is left to its own measurement, which says so."""
        if not cells:
            return
        first = job_of(cells[0], {})
        with supervisor.leased(first, Waiting(say)) as held, ThreadPoolExecutor(at_once) as threads:
            # The process that starts children is the one that the measuring pass goes on with.
            others = [supervisor.another() for _ in range(min(at_once, len(cells)) - 1)]
            free = [supervisor, *others]

            def one(cell: Cell) -> Outcome:
                worker = free.pop()
                try:
                    job = job_of(cell, {CACHES: str(self._folder / cell.cell_id), ONLY_COMPILE: True})
                    return worker.run_on(held, _on_one_thread(job), Listener())
                finally:
                    free.append(worker)

            try:
                self._collect({threads.submit(one, cell): cell for cell in cells}, supervisor, say)
            finally:
                threads.shutdown(cancel_futures=True)
                for other in others:
                    other.close()

    def _collect(
        self, running: Mapping[Future[Outcome], Cell], supervisor: Supervisor, say: Callable[[str], None]
    ) -> None:
        waiting, total = set(running), len(running)
        while waiting:
            done, waiting = wait(waiting, POLL_S, FIRST_COMPLETED)
            supervisor.check()
            for future in done:
                cell, outcome = running[future], future.result()
                place = f"[{total - len(waiting)}/{total}]"
                if outcome.status is Status.OK:
                    self._warm[cell.cell_id] = str(self._folder / cell.cell_id)
                    say(f"{place} {cell.name} compiled {outcome.values.get('compile_s') or 0:.1f} s")
                else:
                    say(f"{place} {cell.name} not compiled: {outcome.status.value}")

    def warmed(self, job: Job) -> Job:
        """The job with the caches that are warm for its cell."""
        warm = self._warm.get(job.cell_id)
        if not warm or CACHES not in job.options:
            return job
        return _on_one_thread(replace(job, options={**job.options, CACHES: warm}))

    def outcome(self, cell: Cell, options: Mapping[str, Any], outcome: Outcome, columns: Iterable[str]) -> Outcome:
        """An attempt's outcome with what it was compiled from: a first call with warm caches is no compile time."""
        if CACHES not in options:
            return outcome
        warm = cell.cell_id in self._warm
        known = {"cache": PREWARMED if warm else COLD, "kernels": kernels(Path(options[CACHES]))}
        values = {**outcome.values, **{name: value for name, value in known.items() if name in columns}}
        if warm and "compile_s" in values:
            values["compile_s"] = None
        return replace(outcome, values=values)


def _on_one_thread(job: Job) -> Job:
    return replace(job, env={**{k: v for k, v in ONE_THREAD.items() if k not in os.environ}, **job.env})


class Waiting(Listener):
    """Says that a device is waited for."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def waiting(self, text: str) -> None:
        """Another run holds the device."""
        self._say(text)


def kernels(folder: Path) -> str:
    """12 hex digits over all code that was generated in `folder`, wherever that is; empty where there is none.

    Inductor names a file by a hash of its text, but code for GPUs has paths of this folder in comments.
    """
    here = os.fsencode(folder)
    texts = {path.read_bytes().replace(here, b"") for pattern in GENERATED for path in folder.rglob(pattern)}
    if not texts:
        return ""
    digest = hashlib.sha256()
    for each in sorted(hashlib.sha256(text).digest() for text in texts):
        digest.update(each)
    return digest.hexdigest()[:12]
