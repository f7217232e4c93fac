"""How much faster is the backend than eager, is it right, and how well is that known?"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

from runner import processes, registry
from runner.against import EAGER, against_columns, against_row, further, latency_of
from runner.baseline import Baseline
from runner.cells import Cell
from runner.compiling.caches import fresh_caches, use_caches
from runner.compiling.compilations import Compilations
from runner.compiling.stats import COMPILE_METRICS, GRAPH_BREAKS, STATISTICS, Mark, explanation
from runner.errors import UsageError
from runner.experiment import Attempt, Context, Experiment, Outcome
from runner.results import verdicts
from runner.results.columns import Column, Phase, Row, Status, join_flags
from runner.timing import MEASURED, Timer, breakeven, step_peak_bytes, wall_s

if TYPE_CHECKING:
    from runner.check_settings import CheckSettings
    from runner.measure.engine import Side
    from runner.measure.measurement import Measurement
    from runner.verdict import Verdict
    from runner.workload import Workload

#: Calls of the compiled side until dynamo's counters stand still: CUDA graphs need three.
SETTLED_CALLS, MAX_SETTLING_CALLS, SLOW_CALL_S = 3, 12, 1.0
#: A model whose first eager step takes longer is checked with one step of one eager run.
SLOW_STEP_S = 10.0
#: Calls of a side in a cell's first child after its first ones: in the check, before the pairs, in a pair. That the
#: first call may take longer than later ones is outweighed by the reference and the memory phase, not counted here.
LEAST_CALLS = 3
#: Below this a peak is the allocator's grain, and a ratio of two says nothing.
MIN_PEAK_GB = 0.01

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
    Column("tokens_per_s", float, "1/s", "tokens that the backend processes; empty for a model without tokens"),
    Column("recompiles", int, "", "frames compiled again when the batch size changed; empty where it never does"),
)
DYNAMIC_SHAPES = (
    Column("batch_size", int, "", "batch size of these inputs"),
    Column("process", int, "", "which process measured"),
    Column("speedup", float, "", "as in the row, at this batch size alone"),
    Column("speedup_lo", float, "", "lower end of its interval"),
    Column("speedup_hi", float, "", "upper end of its interval"),
    Column("abs_latency", float, "ms", "median time per step of the backend"),
    Column("eager_latency", float, "ms", "median time per step of eager"),
    Column("converged", bool, "", "is the interval as narrow as measure.rel_ci asks?"),
    Column("first_call_s", float, "s", "first call of the backend at this batch size"),
    Column("recompiles", int, "", "frames that it compiled again for it"),
)
#: Flag of a row whose backend dynamo refused to compile once more.
LIMITED = "recompile_limit"
#: How a cell ends whose backend ran, but isn't known to be right: a trace may tell why.
CHECKED = (Status.WRONG_OUTPUT, Status.CHECK_ERROR)
#: Flags of a row without the files that were asked for.
NO_TRACE, NO_SNAPSHOT = "trace_failed", "memory_snapshot_failed"
#: After the name of a further baseline, flags that say why it has no columns.
UNFIT = ("failed", "wrong", "unchecked")
#: Columns that are times of one call: of a sequence of batch sizes they are the mean per step.
TIMES = ("abs_latency", "eager_latency", "device_ms_a", "device_ms_b")


class Cache(str, Enum):
    """What the compiler finds on disk: nothing, or also (in a second start) what the first start left."""

    cold = "cold"
    warm = "warm"


@dataclass
class Speedup(Experiment):
    """Eager and backend in pairs in one process, after a check of the outputs and a memory phase of each."""

    columns = (*MEASURED, *OWN)
    tables = {"graph_breaks": GRAPH_BREAKS, "compile_metrics": COMPILE_METRICS, "dynamic_shapes": DYNAMIC_SHAPES}
    summary = ("speedup", "verdict", "abs_latency", "compile_s", "compression_ratio", "accuracy")

    cache: Cache = Cache.cold
    trace: bool = False  # a chrome trace of each side in the artifacts, from a run of its own
    memory_snapshot: bool = False  # torch.cuda's memory history of one step of each side in the artifacts
    explain: bool = False  # dynamo's summary line in the log
    baseline: str | None = None  # a run's folder or a CSV to compare speedups with
    against: list[str] = field(default_factory=lambda: [EAGER])  # eager, then further backends to compare with
    batch_sizes: list[int] | None = None  # to go through in each step; None: one, or a few where dynamic= says so

    def __post_init__(self) -> None:
        self._baseline: Baseline | None = None
        if self.batch_sizes is not None and (not self.batch_sizes or min(self.batch_sizes) < 1):
            raise ValueError(f"experiment.batch_sizes={self.batch_sizes}: give numbers above 0, as [16,8,4]")
        self._others = further(self.against)
        self.fresh_starts = self.cache is Cache.warm
        self.columns = (*type(self).columns, *(column for name in self._others for column in against_columns(name)))

    def expand(self, cell: Cell) -> Iterable[Cell]:
        """The cell itself; one without a backend has nothing to compare."""
        if "backend" not in cell.config:
            raise UsageError("experiment=speedup compares a backend with eager: give backend=NAME")
        if self.memory_snapshot and cell.config["device"]["type"] == "cpu":
            raise UsageError("experiment.memory_snapshot=true: torch keeps no memory history on cpu: give device=cuda")
        if self.baseline and self._baseline is None:  # not in the children: this run may lie in the same folder
            self._baseline = Baseline.read(self.baseline)
        # Eager alone is what every cell had before there were others: it is no part of the cell's identity.
        return (cell.with_field("experiment", against=None) if self.against == [EAGER] else cell,)

    def attempts(self, cell: Cell) -> Generator[Attempt, Outcome, Row]:
        """`measure.processes` children, one more for a warm start, one more at the end of the run if unconverged."""
        with fresh_caches() as caches:
            outcomes = yield from processes.repeat(cell, {"caches": caches})
            if outcomes[-1].status is not Status.OK:
                row = {**outcomes[0].values, **outcomes[-1].row}
                if outcomes[-1].status in CHECKED:
                    row["flags"] = join_flags(row.get("flags"), *(yield from self._profiled(cell, caches)))
                return self._final(cell, row)
            row = self._combined([outcome.row for outcome in outcomes], cell)
            if self.cache is Cache.warm:
                warm = yield Attempt(cell, {"caches": caches, "only_compile": True})
                row["compile_warm_s"] = warm.values.get("compile_s")
                row["flags"] = join_flags(row.get("flags"), "" if warm.status is Status.OK else "warm_start_failed")
            row["flags"] = join_flags(row.get("flags"), *(yield from self._profiled(cell, caches)))
            row = yield from processes.retry(cell, row, {"caches": caches, "process": 1}, partial(self._final, cell))
            return self._final(cell, row)

    def _profiled(self, cell: Cell, caches: str) -> Generator[Attempt, Outcome, Iterable[str]]:
        """A child for traces and memory snapshots: what it does costs no number; flags for what it failed at."""
        asked = [flag for flag, wanted in ((NO_TRACE, self.trace), (NO_SNAPSHOT, self.memory_snapshot)) if wanted]
        if not asked:
            return ()
        outcome = yield Attempt(cell, {"caches": caches, "process": None, "profile": True})
        if outcome.status is not Status.OK:
            return asked
        return [word for word in (outcome.values.get("flags") or "").split(";") if word in asked]

    def _combined(self, rows: list[Row], cell: Cell) -> Row:
        row = processes.combined(rows, cell.config["measure"])
        if len(rows) > 1:
            for name in self._others:
                row |= processes.ratio(rows, f"speedup_vs_{name}", cell.config["measure"]["ci_level"])
                row |= {latency_of(name): processes.median(rows, latency_of(name))}
        return row

    def _final(self, cell: Cell, row: Row) -> Row:
        """The row with what follows from other rows and columns."""
        flags = (row.get("flags") or "").split(";")
        for name in self._others:
            if {f"{name}_{word}" for word in UNFIT} & set(flags):
                row |= dict.fromkeys(column.name for column in against_columns(name))
        row["breakeven_iters"] = breakeven(row, row["compile_s"]) if row.get("compile_s") else None
        if self._baseline:
            row |= self._baseline.columns(cell, row)
        return row

    def run(self, workload: Workload, context: Context) -> Iterable[Row]:
        """Eager, compile, check, memory, then the pairs. A first child does all, a later one only what it is for."""
        from runner.dynamic import sequence
        from runner.profiling import memory_of
        from runner.state import State

        first = context.options.get("process", 0) == 0
        if self.memory_snapshot:
            with context.phase(Phase.MEMORY):
                memory_of(context.device)  # now, not after everything was timed
        with context.phase(Phase.LOAD):
            varied = sequence(workload, self.batch_sizes)
            if self.batch_sizes:
                yield {"batch_size": varied[0].batch_size}  # the model's own need not be among them
        with context.phase(Phase.EAGER):
            steps = _eager(varied, context)
            before = State(varied[0]) if first else None  # what a wrong backend does to weights is not eager's fault
        mark = Mark.now()
        with context.phase(Phase.COMPILE):
            compiled = self._compile(varied, context)
        if context.options.get("only_compile"):
            yield {"compile_s": compiled.seconds[0]}
            return
        if context.options.get("profile"):
            self._profile(varied[0], compiled.call, context)
            return
        if first:
            yield {"compile_s": compiled.seconds[0], "recompiles": compiled.recompiles, **mark.statistics_since()}
            self._report(mark, context)
            assert before is not None
            before.restore()
            del before
            steps.reset()
            yield from self._examine(steps, compiled, context)
        yield from self._time(steps, compiled, context)

    def _compile(self, varied: Sequence[Workload], context: Context) -> Compiled:
        """The backend's callable after its first calls at every batch size."""
        assert context.backend is not None
        if self._others:
            from runner.compiling.settings import CompilerSettings

            self._before = CompilerSettings()
        use_caches(context.options["caches"])
        compilations = Compilations()
        compiled = Compiled(context.backend.prepare(varied[0]), compilations)
        last_s = 0.0
        for one in varied:
            mark = Mark.now()
            compiled.seconds.append(wall_s(partial(one.step, compiled.call), context))
            last_s += _settle(one, compiled.call, context)
            compiled.frames.append(mark.capture_since()["compiled_frames"])
        compiled.limited = compiled.limit_hit
        context.expect_call(last_s, more=_least_calls(context))
        return compiled

    def _report(self, mark: Mark, context: Context) -> None:
        context.table("graph_breaks", mark.graph_breaks_since())
        context.table("compile_metrics", mark.phases_since())
        if self.explain:
            print(explanation(mark.statistics_since()))

    def _examine(self, steps: Steps, compiled: Compiled, context: Context) -> Iterator[Row]:
        """Outputs against eager and an fp64 reference at every batch size, then peak memory of each side."""
        from runner.check import check
        from runner.recheck import may_help, recheck

        varied, candidate, rechecked = steps.varied, compiled.call, False
        with context.phase(Phase.CHECK):
            settings = steps.check_settings(context)
            for one in varied:
                found = check(one, candidate, settings, context.phase(Phase.COMPILE))
                if may_help(found):
                    found, rechecked = recheck(one, settings, found, context), True
                context.note_flags(*found.flags, *(["short_check"] if settings.iterations == 1 else []))
                if not found.ok:
                    break
            row = found.row()
            if len(varied) > 1 and "error" in row:
                row["error"] = f"batch size {one.batch_size}: {row['error']}"
            yield {**row, **_if_limited(found, compiled, context)}
        if rechecked:
            _compile_anew(varied, candidate, context)
        with context.phase(Phase.MEMORY):
            peaks = [step_peak_bytes(varied[0], f, context) / 1e9 for f in (varied[0].model, candidate)]
            known = min(peaks) >= MIN_PEAK_GB
            ratio = peaks[0] / peaks[1] if known else None
            yield {"eager_peak_mem": peaks[0], "dynamo_peak_mem": peaks[1], "compression_ratio": ratio}

    def _time(self, steps: Steps, compiled: Compiled, context: Context) -> Iterator[Row]:
        varied = steps.varied
        others = self._prepare_others(steps, compiled, context)
        with context.phase(Phase.WARMUP):
            timer = Timer(context)
        with context.phase(Phase.MEASURE):
            measured = timer.compare(steps.side(varied[0].model), steps.side(compiled.call))
            context.note_flags(*measured.flags)
            if context.measure.samples_file:
                context.samples({f"{key}_{context.options['process']}": a for key, a in measured.samples().items()})
            row = {**per_step(measured, len(varied)), **timer.process_row(), "process": context.options["process"]}
            yield {**row, "tokens_per_s": tokens_per_s(varied, row["abs_latency"])}
            for name, call in others.items():
                sides = steps.side(call), steps.side(compiled.call)
                other = timer.for_more(1 / len(others)).compare(*sides, f"{context.cell.name}/{name}")
                yield against_row(name, per_step(other, len(varied)))
            if len(varied) > 1:
                context.table("dynamic_shapes", list(_by_size(steps, compiled, timer, context)))

    def _prepare_others(self, steps: Steps, compiled: Compiled, context: Context) -> dict[str, Callable[..., Any]]:
        """Callables of the further baselines; one that fails or is wrong costs its own columns only, with a flag."""
        others: dict[str, Callable[..., Any]] = {}
        for name, node in self._others.items():
            error = ""
            try:
                with self._before.restored():  # without the settings of the backend under test
                    others[name] = _compile_other(node, steps.varied, context)
                    error = _what_is_wrong(others[name], steps, compiled, context)
            except Exception as failure:  # noqa: BLE001 - whatever it is, the backend under test isn't to blame
                traceback.print_exception(failure)
                error = "failed"
            if context.agree(float(bool(error))):
                unfit = f"{name}_{error or UNFIT[0]}"
                context.note_flags(unfit)
                others.pop(name, None)
        return others

    def _profile(self, workload: Workload, candidate: Callable[..., Any], context: Context) -> None:
        """The files of each side; one that fails costs itself only, with a flag."""
        from runner import profiling

        with context.phase(Phase.MEASURE):
            for name, f in (("eager", workload.model), ("backend", candidate)):
                call = partial(workload.step, f)
                if self.trace:
                    with _flagged(NO_TRACE, context):
                        profiling.trace(call, context.artifact(f"trace_{name}.json"))
                if self.memory_snapshot:
                    with _flagged(NO_SNAPSHOT, context):
                        profiling.memory_snapshot(call, context.device, context.artifact(f"memory_{name}.pickle"))


@dataclass
class Compiled:
    """The backend's callable; per batch size seconds of its first call and frames that were compiled for it."""

    call: Callable[..., Any]
    compilations: Compilations  # of this process since
    seconds: list[float] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    limited: bool = False  # limit_hit after the first calls

    @property
    def recompiles(self) -> int | None:
        """Frames compiled again after the first batch size; None where there is one only."""
        return sum(self.frames[1:]) if len(self.frames) > 1 else None

    @property
    def limit_hit(self) -> bool:
        """Whether dynamo has refused to compile some frame once more, and runs it in eager."""
        return any(each.limit_hit for each in self.compilations.all())


@dataclass(frozen=True)
class Steps:
    """Steps at several batch sizes, one after the other, as one call of a side."""

    varied: Sequence[Workload]
    resets: Sequence[Callable[[], None] | None]
    eager_s: float = 0.0  # what eager's first steps took

    def check_settings(self, context: Context) -> CheckSettings:
        """How thorough the check can be."""
        from runner.check import CheckSettings

        free, times = context.device.free_memory_bytes(), 1 if self.eager_s > SLOW_STEP_S else 2
        return CheckSettings(seed=context.seed, iterations=times, eager_runs=times, free_bytes=free)

    def reset(self) -> None:
        """Put the inputs back that steps have changed."""
        _each(filter(None, self.resets))

    def side(self, f: Callable[..., Any]) -> Side:
        """A side of the pairs with `f` in the model's place."""
        from runner.measure.engine import Side

        if len(self.varied) == 1:
            return Side(partial(self.varied[0].step, f), self.resets[0])
        steps = [partial(one.step, f) for one in self.varied]
        return Side(partial(_each, steps), self.reset if any(self.resets) else None)

    def parts(self) -> Iterator[Steps]:
        """The steps of one batch size each."""
        for one, reset in zip(self.varied, self.resets, strict=True):
            yield Steps([one], [reset])


@contextmanager
def _flagged(word: str, context: Context) -> Iterator[None]:
    """Turn a failure into a flag; what it was is in the cell's log."""
    try:
        yield
    except Exception as failure:  # noqa: BLE001 - whatever it is, what was measured stands
        traceback.print_exception(failure)
        context.note_flags(word)


def _compile_other(node: Mapping[str, Any], varied: Sequence[Workload], context: Context) -> Callable[..., Any]:
    with context.phase(Phase.COMPILE):
        call: Callable[..., Any] = registry.build(node).prepare(varied[0])
        for one in varied:
            _settle(one, call, context)
        return call


def _what_is_wrong(call: Callable[..., Any], steps: Steps, compiled: Compiled, context: Context) -> str:
    """One of UNFIT where the check doesn't pass a further baseline; the first child says so for later ones."""
    from runner.check import check
    from runner.recheck import may_help

    if context.options.get("process", 0):
        return ""
    steps.reset()
    with context.phase(Phase.CHECK):
        settings = steps.check_settings(context)
        for one in steps.varied:
            found = check(one, call, settings, context.phase(Phase.COMPILE))
            if not found.ok:
                break
    if found.ok and compiled.limit_hit:
        found = _unchecked(found, len(steps.varied))
    if found.ok:
        return ""
    print(*([f"batch size {one.batch_size}:"] if len(steps.varied) > 1 else []), f"{found.accuracy}: {found.reason}")
    if found.status is Status.CHECK_ERROR or may_help(found):
        return "unchecked"
    return "wrong" if found.status is Status.WRONG_OUTPUT else "failed"


def _if_limited(found: Verdict, compiled: Compiled, context: Context) -> Row:
    """Columns of the check where it passed what is not what is timed; a flag in any case.

    What ran in eager from the first calls on is timed and checked alike, except without dropout, which is code of its
    own.
    """
    if not context.agree(float(compiled.limit_hit)):
        return {}
    context.note_flags(LIMITED)
    alike = compiled.limited and "dropout_off" not in found.flags
    return _unchecked(found, len(compiled.frames)).row() if found.ok and not alike else {}


def _unchecked(found: Verdict, steps: int) -> Verdict:
    """The verdict on what ran in eager, in one of `steps` or in all, because dynamo refused to compile it."""
    from torch._dynamo import config

    way_out = "give fewer experiment.batch_sizes" if steps > 1 else "experiment=graph_breaks says what it compiled"
    limit = f"dynamo's recompile limit of {config.recompile_limit} was reached"
    reason = f"{limit}: what was checked ran in eager in part, otherwise than what is timed; {way_out}"
    return replace(found, accuracy=verdicts.REFERENCE_UNUSABLE, reason=reason)


def _eager(varied: Sequence[Workload], context: Context) -> Steps:
    """Eager's first steps; the inputs that they have changed are put back."""
    from runner.state import Inputs

    inputs = [Inputs(one) for one in varied]
    seconds = sum(wall_s(partial(one.step, one.model), context) for one in varied)
    context.expect_call(seconds, more=_least_calls(context))
    return Steps(varied, [one.undo() for one in inputs], seconds)


def _least_calls(context: Context) -> int:
    """Calls of each side that are to come at the least."""
    asked = context.options
    return 0 if asked.get("only_compile") or asked.get("profile") or asked.get("process") else LEAST_CALLS


def _each(calls: Iterable[Callable[[], object]]) -> None:
    for call in calls:
        call()


def _by_size(steps: Steps, compiled: Compiled, timer: Timer, context: Context) -> Iterator[Row]:
    """Rows of dynamic_shapes.csv."""
    count = len(steps.varied)
    for i, part in enumerate(steps.parts()):
        one = part.varied[0]
        seed = f"{context.cell.name}/{one.batch_size}"
        sides = part.side(one.model), part.side(compiled.call)
        row = timer.for_more(1 / count).compare(*sides, seed).row()
        known = {column.name: row[column.name] for column in DYNAMIC_SHAPES if column.name in row}
        place = {"batch_size": one.batch_size, "process": context.options["process"]}
        again = compiled.frames[i] if i else 0
        yield {**known, **place, "first_call_s": compiled.seconds[i], "recompiles": again}


def per_step(measured: Measurement, steps: int) -> Row:
    """The measurement's columns, times being those of one of the `steps` in a call."""
    row = measured.row()
    return row | {name: row[name] / steps for name in TIMES if row[name] is not None}


def tokens_per_s(varied: Sequence[Workload], latency_ms: float) -> float | None:
    """Tokens per second of steps that take `latency_ms` on average; None for a model that has no tokens."""
    tokens = [one.tokens for one in varied if one.tokens]
    return sum(tokens) / len(varied) / latency_ms * 1e3 if len(tokens) == len(varied) else None


def _compile_anew(varied: Sequence[Workload], candidate: Callable[..., Any], context: Context) -> None:
    """Compile as before the second check, with the user's settings."""
    import torch

    with context.phase(Phase.COMPILE):
        torch._dynamo.reset()
        for one in varied:
            _settle(one, candidate, context)


def _settle(workload: Workload, candidate: Callable[..., Any], context: Context) -> float:
    """Call until dynamo's counters stand still, on every rank; returns the seconds of the last call."""
    unchanged, seconds, before = 0, 0.0, Mark.now().statistics
    for _ in range(MAX_SETTLING_CALLS):
        seconds = wall_s(partial(workload.step, candidate), context)
        after = Mark.now().statistics
        unchanged = 0 if context.agree(float(after != before)) else unchanged + 1
        before = after
        if unchanged >= SETTLED_CALLS or (unchanged and seconds > SLOW_CALL_S):
            break
    return seconds
