"""How much faster is the backend than eager, is it right, and how well is that known?"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING, Any

from runner.baseline import Baseline
from runner.cells import Cell
from runner.compile_stats import COMPILE_METRICS, GRAPH_BREAKS, STATISTICS, Mark, explanation
from runner.errors import UsageError
from runner.experiment import Attempt, Context, Experiment, Outcome
from runner.results.columns import Column, Phase, Row, Status, join_flags
from runner.timing import MEASURED, Timer, step_peak_bytes

if TYPE_CHECKING:
    from runner.workload import Workload

#: Calls of the compiled side until dynamo's counters stand still: CUDA graphs need three.
SETTLED_CALLS, MAX_SETTLING_CALLS, SLOW_CALL_S = 3, 12, 1.0
#: A model whose first eager step takes longer is checked with one step of one eager run.
SLOW_STEP_S = 10.0
#: Below this a peak is the allocator's grain, and a ratio of two says nothing.
MIN_PEAK_GB = 0.01

#: Folders for compiler caches in the temporary directory; the number of the process that uses them follows.
CACHES = "runner-cache-"

OWN = (
    Column("baseline", float, "", "speedup of the same subject in experiment.baseline"),
    Column("speedup_vs_baseline", float, "", "speedup over that one"),
    *STATISTICS,
    Column("compression_ratio", float, "", "eager_peak_mem / dynamo_peak_mem; empty where a peak is below 10 MB"),
    Column("eager_peak_mem", float, "GB", "peak memory of an eager step, weights included (1e9 bytes)"),
    Column("dynamo_peak_mem", float, "GB", "peak memory of a step of the backend, weights included (1e9 bytes)"),
    Column("compile_s", float, "s", "first call of the backend alone, compiler caches empty"),
    Column("compile_warm_s", float, "s", "the same in a second process with the caches of the first (cache=warm)"),
    Column("breakeven_iters", int, "", "iterations until compiling has paid for itself; empty if it never does"),
)


class Cache(str, Enum):
    """What the compiler finds on disk: nothing, or also (in a second start) what the first start left."""

    cold = "cold"
    warm = "warm"


@dataclass
class Speedup(Experiment):
    """Eager and backend in pairs in one process, after a check of the outputs and a memory phase of each."""

    columns = (*MEASURED, *OWN)
    tables = {"graph_breaks": GRAPH_BREAKS, "compile_metrics": COMPILE_METRICS}
    summary = ("speedup", "verdict", "abs_latency", "compile_s", "compression_ratio", "accuracy")

    cache: Cache = Cache.cold
    trace: bool = False  # a chrome trace of each side in the artifacts, from a run of its own
    memory_snapshot: bool = False  # torch.cuda's memory history of one step of each side in the artifacts
    explain: bool = False  # dynamo's summary line in the log
    baseline: str | None = None  # a run's folder or a CSV to compare speedups with

    def __post_init__(self) -> None:
        self._baseline = Baseline.read(self.baseline) if self.baseline else None

    def expand(self, cell: Cell) -> Iterable[Cell]:
        """The cell itself; one without a backend has nothing to compare."""
        if "backend" not in cell.config:
            raise UsageError("experiment=speedup compares a backend with eager: give backend=NAME")
        return (cell,)

    def attempts(self, cell: Cell) -> Generator[Attempt, Outcome, Row]:
        """`measure.processes` children, one more for a warm start, one more at the end of the run if unconverged."""
        measure = cell.config["measure"]
        remove_leftovers()
        with TemporaryDirectory(prefix=f"{CACHES}{os.getpid()}-") as caches:
            outcomes = []
            for process in range(measure["processes"]):
                outcomes.append((yield Attempt(cell, {"caches": caches, "process": process})))
                if outcomes[-1].status is not Status.OK:
                    return self._final(cell, outcomes[-1].row)
            row = _combined([outcome.row for outcome in outcomes], measure)
            if self.cache is Cache.warm:
                warm = yield Attempt(cell, {"caches": caches, "only_compile": True})
                row["compile_warm_s"] = warm.values.get("compile_s")
                row["flags"] = join_flags(row.get("flags"), "" if warm.status is Status.OK else "warm_start_failed")
            for _ in range(measure["retry_unconverged"]):
                if not _worth_repeating(row):
                    break
                options = {"caches": caches, "process": 1}
                again = yield Attempt(cell, options, deferred=True, pending=self._final(cell, dict(row)))
                row = _retried(row, again)
            return self._final(cell, row)

    def _final(self, cell: Cell, row: Row) -> Row:
        """The row with what follows from other rows and columns."""
        row["breakeven_iters"] = _breakeven(row)
        if self._baseline:
            row |= self._baseline.columns({**cell.row(), **row})
        return row

    def run(self, workload: Workload, context: Context) -> Iterable[Row]:
        """Eager, compile, check, memory, then the pairs. A first child does all, a later one only what it is for."""
        from runner.state import State

        first = context.options.get("process", 0) == 0
        with context.phase(Phase.EAGER):
            eager_s = _seconds(workload, workload.model, context)
            context.expect_call(eager_s)
            before = State(workload) if first else None  # what a wrong backend does to the weights is not eager's fault
        mark = Mark.now()
        with context.phase(Phase.COMPILE):
            candidate, compile_s = self._compile(workload, context)
        if context.options.get("only_compile"):
            yield {"compile_s": compile_s}
            return
        if first:
            yield {"compile_s": compile_s, **mark.statistics_since()}
            self._report(mark, context)
            assert before is not None
            before.restore()
            del before
            yield from self._examine(workload, candidate, context, eager_s)
        yield from self._time(workload, candidate, context)
        with context.phase(Phase.MEASURE):
            self._profile(workload, candidate, context)

    def _compile(self, workload: Workload, context: Context) -> tuple[Callable[..., Any], float]:
        assert context.backend is not None
        use_caches(context.options["caches"])
        candidate = context.backend.prepare(workload)
        first_call_s = _seconds(workload, candidate, context)
        context.expect_call(_settle(workload, candidate, context))
        return candidate, first_call_s

    def _report(self, mark: Mark, context: Context) -> None:
        context.table("graph_breaks", mark.graph_breaks_since())
        context.table("compile_metrics", mark.phases_since())
        if self.explain:
            print(explanation(mark.statistics_since()))

    def _examine(
        self, workload: Workload, candidate: Callable[..., Any], context: Context, eager_s: float
    ) -> Iterator[Row]:
        """Outputs against eager and an fp64 reference, then peak memory of each side."""
        from runner.check import CheckSettings, check

        with context.phase(Phase.CHECK):
            free, times = context.device.free_memory_bytes(), 1 if eager_s > SLOW_STEP_S else 2
            settings = CheckSettings(seed=context.seed, iterations=times, eager_runs=times, free_bytes=free)
            found = check(workload, candidate, settings)
            context.note_flags(*found.flags, *(["short_check"] if times == 1 else []))
            yield found.row()
        with context.phase(Phase.MEMORY):
            peaks = [step_peak_bytes(workload, f, context) / 1e9 for f in (workload.model, candidate)]
            known = min(peaks) >= MIN_PEAK_GB
            ratio = peaks[0] / peaks[1] if known else None
            yield {"eager_peak_mem": peaks[0], "dynamo_peak_mem": peaks[1], "compression_ratio": ratio}

    def _time(self, workload: Workload, candidate: Callable[..., Any], context: Context) -> Iterator[Row]:
        from runner.measure.engine import Side
        from runner.state import inputs_to_reset

        with context.phase(Phase.WARMUP):
            reset = inputs_to_reset(workload)
            timer = Timer(context)
            eager = Side(lambda: workload.step(workload.model), reset)
            backend = Side(lambda: workload.step(candidate), reset)
        with context.phase(Phase.MEASURE):
            measured = timer.compare(eager, backend)
            context.note_flags(*measured.flags)
            if context.measure.samples_file:
                context.samples({f"{key}_{context.options['process']}": a for key, a in measured.samples().items()})
            yield {**measured.row(), **timer.process_row(), "process": context.options["process"]}

    def _profile(self, workload: Workload, candidate: Callable[..., Any], context: Context) -> None:
        """Runs of their own, after everything that is timed."""
        from runner import profiling

        for name, f in (("eager", workload.model), ("backend", candidate)):
            if self.trace:
                profiling.trace(lambda f=f: workload.step(f), context.artifact(f"trace_{name}.json"))  # type: ignore[misc]
            if self.memory_snapshot:
                profiling.memory_snapshot(
                    lambda f=f: workload.step(f), context.device, context.artifact(f"memory_{name}.pickle")  # type: ignore[misc]
                )


def remove_leftovers() -> None:
    """Remove caches whose process was killed before it could."""
    for folder in Path(gettempdir()).glob(f"{CACHES}*-*"):
        pid = folder.name.removeprefix(CACHES).partition("-")[0]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def use_caches(folder: str) -> None:
    """Let inductor and Triton keep what they compile in `folder`, from now on in this process."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/inductor"
    os.environ["TRITON_CACHE_DIR"] = f"{folder}/triton"


def _seconds(workload: Workload, f: Callable[..., Any], context: Context) -> float:
    """Wall time of one step with `f`, from an idle device to an idle device."""
    context.device.synchronize()
    started = time.perf_counter()
    workload.step(f)
    context.device.synchronize()
    return time.perf_counter() - started


def _settle(workload: Workload, candidate: Callable[..., Any], context: Context) -> float:
    """Call until dynamo's counters stand still; returns the seconds of the last call."""
    unchanged, seconds, before = 0, 0.0, Mark.now().statistics
    for _ in range(MAX_SETTLING_CALLS):
        seconds = _seconds(workload, candidate, context)
        after = Mark.now().statistics
        unchanged = unchanged + 1 if after == before else 0
        before = after
        if unchanged >= SETTLED_CALLS or (unchanged and seconds > SLOW_CALL_S):
            break
    return seconds


def _combined(rows: list[Row], measure: Mapping[str, Any]) -> Row:
    """One row of several processes: the first one's, with the speedup estimated across all of them."""
    if len(rows) == 1:
        return rows[0]
    from runner.measure.statistics import combine_processes, detectable, verdict

    logs = [math.log(row["speedup"]) for row in rows]
    known = [row["se_within"] for row in rows if row.get("se_within") is not None]
    found = combine_processes(logs, known or [math.nan], measure["ci_level"])
    return {
        **rows[0],
        "speedup": math.exp(found.interval.center),
        "speedup_lo": math.exp(found.interval.lo),
        "speedup_hi": math.exp(found.interval.hi),
        "rel_hw": found.interval.half_width,
        "se_within": found.within_sd,
        "between_sd": found.between_sd,
        "mde80": detectable(found.interval.se, measure["ci_level"]),
        "verdict": verdict(found.interval, measure["practical"]),
        "converged": found.interval.half_width <= measure["rel_ci"],
        "process": None,
        "n_processes": len(rows),
        "flags": join_flags(*(row.get("flags") for row in rows)),
    }


def _worth_repeating(row: Row) -> bool:
    """Whether a second measurement may do better: not of several processes, and not where the time allows few calls."""
    return row.get("converged") is False and row.get("rel_hw") is not None and row.get("n_processes") == 1


def _retried(row: Row, again: Outcome) -> Row:
    """The row after a second measurement: its numbers if it worked, and a flag that there were two."""
    from runner.measure.measurement import FLAGS

    if again.status is not Status.OK:
        return {**row, "flags": join_flags(row.get("flags"), "retry_failed")}
    flags = [word for word in (row.get("flags") or "").split(";") if word not in FLAGS]
    return {**row, **again.values, "flags": join_flags(*flags, again.values.get("flags"), "retried")}


def _breakeven(row: Row) -> int | None:
    """Iterations after which the time saved exceeds the time that compiling took; None where no gain is certain."""
    if row.get("status") != Status.OK or not row.get("compile_s") or (row.get("speedup_lo") or 0) <= 1:
        return None
    saved_s = (row["eager_latency"] - row["abs_latency"]) / 1e3
    return math.ceil(row["compile_s"] / saved_s) if saved_s > 0 else None
