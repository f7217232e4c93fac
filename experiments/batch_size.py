"""What is the largest batch that fits into the device's memory?"""

from __future__ import annotations

import resource
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from runner.batch_sizes import LARGEST
from runner.cells import Cell
from runner.errors import UsageError
from runner.experiment import Attempt, Context, Experiment, Outcome
from runner.results.columns import Column, Phase, Row, Status, join_flags
from runner.timing import step_peak_bytes, wall_s

if TYPE_CHECKING:
    from runner.workload import Workload

#: Where the search starts unless a batch size is given: batch norm can't train with 1. Not at the suite's own, which
#: may be far too large here: a first try that is killed or times out takes long.
START = 2
#: Steps of a try: optimizers allocate their states in the first, CUDA graphs record in the third.
STEPS = 3
#: Statuses of a try that say that the batch is too large, if a smaller one worked.
TOO_LARGE = frozenset(
    {Status.OOM, Status.TIMEOUT, Status.RUN_ERROR, Status.EAGER_ERROR, Status.COMPILE_ERROR, Status.CRASHED}
)


@dataclass
class BatchSize(Experiment):
    """Doubles the batch until it fails, then halves the interval; every try has a child of its own.

    The search starts at the batch size of the command, of `select.batch_size_file` or of the model's policy, else at
    START; never above the limit. What fails for any other reason than memory or time at the first try fails for good.
    """

    columns = (
        Column(LARGEST, int, "", "largest batch size that was tried and fits; empty where none does", headline=True),
        Column("bound", str, "", "what the next larger try ended with: oom, timeout, ..., or limit if none failed"),
        Column("tries", str, "", "all tries in order, size=status"),
        Column("step_ms", float, "ms", "one step at the largest batch size, timed once"),
        Column("samples_per_s", float, "1/s", "samples per second of that step"),
        Column("peak_mem", float, "GB", "peak memory of a step at the largest batch size, weights included"),
    )
    summary = (LARGEST, "bound", "samples_per_s", "peak_mem", "tries")

    limit: int = 1 << 16  # no larger batch is tried
    resolution: float = 0.03  # the search ends when the interval is this part of the size, or 1
    host_memory: float = 0.9  # part of the free memory that a try on the CPU may use

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"experiment.limit={self.limit}: give a number above 0")
        for name in ("resolution", "host_memory"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"experiment.{name}={getattr(self, name)}: give a number above 0, at most 1")

    def gather(self, cells: Sequence[Cell], plain: Mapping[str, Any]) -> Iterable[Cell]:
        """The cells; a size that was given for all of them has to be within the limit, a model's own needn't be."""
        size = plain["batch_size"]
        if size != "suite" and size > self.limit:
            raise UsageError(f"batch_size={size} is above experiment.limit={self.limit}: lower it or raise the limit")
        return cells

    def attempts(self, cell: Cell) -> Generator[Attempt, Outcome, Row]:
        """One child per size."""
        search = Search(self.limit, self.resolution, min(cell.config.get("batch_size") or START, self.limit))
        while (size := search.next()) is not None:
            outcome = yield Attempt(replace(cell, config={**cell.config, "batch_size": size}))
            search.add(size, outcome)
        return search.row()

    def run(self, workload: Workload, context: Context) -> Iterable[Row]:
        """Some steps of one size."""
        asked = context.cell.config["batch_size"]
        if workload.batch_size != asked:
            from runner.errors import Unsupported

            raise Unsupported(f"{workload.name} has a fixed batch size of {workload.batch_size}")
        assert context.backend is not None
        self._bound_memory(context)
        with context.phase(Phase.COMPILE):
            call = context.backend.prepare(workload)
            for _ in range(STEPS - 1):
                _step(workload, call, context)
        with context.phase(Phase.MEASURE):
            seconds = _step(workload, call, context)
            yield {"step_ms": seconds * 1e3, "samples_per_s": asked / seconds}
        with context.phase(Phase.MEMORY):
            yield {"peak_mem": step_peak_bytes(workload, call, context) / 1e9}

    def _bound_memory(self, context: Context) -> None:
        """Let an allocation on the host fail before the kernel starts to kill, where the model's memory is the host's.

        A device with a counter of its own has its own end.
        """
        free = context.device.free_memory_bytes()
        if free is None or context.device.peak_memory_bytes() is not None:
            return
        import psutil

        held = psutil.Process().memory_info()
        bound = max(held.rss, held.data) + int(self.host_memory * free)
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard == resource.RLIM_INFINITY or bound < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))


@dataclass
class Search:
    """Doubling up to `limit`, then bisection between the largest size that fits and the smallest that does not."""

    limit: int
    resolution: float
    start: int
    fits: int = 0
    too_large: int | None = None
    best: Outcome | None = None
    failed: Outcome | None = None
    tries: list[str] = field(default_factory=list)
    over: bool = False

    def next(self) -> int | None:
        """The size to try; None when the search is over."""
        if self.over or self.fits == self.limit:
            return None
        if not self.tries:
            return self.start
        if self.too_large is None:
            return min(2 * self.fits, self.limit)
        gap = self.too_large - self.fits
        return None if gap <= max(1.0, self.resolution * self.fits) else self.fits + gap // 2

    def add(self, size: int, outcome: Outcome) -> None:
        """Take in what a try of `size` ended with."""
        self.tries.append(f"{size}={outcome.status.value}")
        if outcome.status is Status.OK:
            self.fits, self.best = size, outcome
            return
        self.failed, self.too_large = outcome, size
        lasting = outcome.status not in ({Status.OOM, Status.TIMEOUT} if self.best is None else TOO_LARGE)
        # What was interrupted says nothing about the size, and after a timeout there may be no time left.
        self.over = lasting or (outcome.status is Status.TIMEOUT and outcome.error_type == "cell_s")

    def row(self) -> Row:
        """The final row: the largest try that worked, or the one that says why none does."""
        tries = {"tries": ";".join(self.tries)}
        if self.best is None or (self.failed and self.failed.status is Status.INTERRUPTED):
            assert self.failed is not None
            return {**self.failed.row, **tries}
        bound = self.failed.status.value if self.failed else "limit"
        flags = join_flags(self.best.values.get("flags"), "search_cut_short" if self.over else "")
        return {**self.best.row, **tries, LARGEST: self.fits, "bound": bound, "flags": flags}


def _step(workload: Workload, call: Callable[..., Any], context: Context) -> float:
    """Seconds of one step."""
    seconds = wall_s(lambda: workload.step(call), context)
    context.expect_call(seconds)
    return seconds
