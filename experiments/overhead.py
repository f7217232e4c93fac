"""What does dynamo itself cost? Guards, lookups and calls of a backend that changes nothing, against eager."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.cells import Cell
from runner.compiling.stats import CAPTURE, Mark, backed
from runner.experiment import Context, Experiment
from runner.results.columns import Column, Phase, Row
from runner.timing import MEASURED, Timer

if TYPE_CHECKING:
    from runner.workload import Workload

#: Calls until dynamo has compiled what it will compile.
WARM_CALLS = 3
GUARD_ITERATIONS = 200
PROFILED_CALLS = 20
#: What the profiler calls the time from the start of a frame until its compiled code is found.
LOOKUP = "TorchDynamo Cache Lookup"

COLUMNS = (
    Column("overhead_us", float, "us", "how much longer a step takes with the backend than in eager, all together"),
    Column("overhead_us_lo", float, "us", "lower end of its interval"),
    Column("overhead_us_hi", float, "us", "upper end of its interval"),
    Column("overhead_us_per_graph", float, "us", "overhead_us over graph_calls"),
    Column("bare_us", float, "us", "time of a call whose graphs do nothing: guards, lookups, calls, bytecode between"),
    Column("bare_us_lo", float, "us", "lower end of its interval"),
    Column("bare_us_hi", float, "us", "upper end of its interval"),
    Column("bare_us_per_graph", float, "us", "bare_us over graph_calls"),
    Column("guards_us", float, "us", "time to check the guards of all compiled frames once, caches warm"),
    Column("cache_lookup_latency", float, "us", "time of dynamo's cache lookups in one step under torch's profiler"),
    Column("guards", int, "", "guards of all compiled frames"),
    Column("graph_calls", int, "", "calls of compiled graphs in one step"),
    *CAPTURE,
)


@dataclass
class Overhead(Experiment):
    """Eager against the backend in pairs; then the same calls with graphs that return what they returned before."""

    columns = (*MEASURED, *COLUMNS)
    one_process = True
    summary = ("overhead_us", "overhead_us_per_graph", "bare_us", "guards_us", "graph_calls", "stop")

    def expand(self, cell: Cell) -> Iterable[Cell]:
        """The cell itself; one without a backend has no overhead."""
        return backed(cell, "experiment=overhead compares a backend that changes nothing with eager")

    def run(self, workload: Workload, context: Context) -> Iterable[Row]:
        """Count graphs, then measure; dynamo forgets everything between the parts."""
        from runner.compiling.graphs import each_graph, replayed

        with context.phase(Phase.EAGER):
            workload.step(workload.model)
        mark = Mark.now()
        with context.phase(Phase.COMPILE):
            calls = self._graph_calls(workload, context)
            yield {"graph_calls": calls, **mark.capture_since()}
            candidate, guards = self._compile(workload, workload.step, context)
            yield guards
        with context.phase(Phase.WARMUP):
            timer = Timer(context)
        yield from self._whole(workload, candidate, timer, context, calls)
        yield {"cache_lookup_latency": lookup_us(lambda: workload.step(candidate))}
        with each_graph(replayed):
            with context.phase(Phase.COMPILE):
                candidate, _ = self._compile(workload, lambda f: forward(workload, f), context)
            yield from self._bare(workload, candidate, timer, context, calls)

    def _graph_calls(self, workload: Workload, context: Context) -> int:
        from runner.compiling.graphs import Counting, each_graph

        assert context.backend is not None
        counting = Counting()
        with each_graph(counting.wrap):
            candidate = context.backend.prepare(workload)
            for _ in range(WARM_CALLS):
                workload.step(candidate)
            before = counting.calls
            workload.step(candidate)
        return counting.calls - before

    def _compile(
        self, workload: Workload, call: Callable[[Callable[..., Any]], Any], context: Context
    ) -> tuple[Callable[..., Any], Row]:
        """The backend's callable after some of `call`, from a dynamo that knows nothing; and columns of its guards."""
        import torch

        from runner.compiling.compilations import Compilations
        from runner.compiling.graphs import guard_times

        assert context.backend is not None
        torch._dynamo.reset()
        compilations = Compilations()
        with guard_times(GUARD_ITERATIONS) as us:
            candidate = context.backend.prepare(workload)
            for _ in range(WARM_CALLS):
                call(candidate)
        guards = sum(each.guards for each in compilations.all())
        return candidate, {"guards_us": sum(us), "guards": guards}

    def _whole(
        self, workload: Workload, candidate: Callable[..., Any], timer: Timer, context: Context, calls: int
    ) -> Iterator[Row]:
        from runner.measure.engine import Side
        from runner.state import inputs_to_reset

        with context.phase(Phase.MEASURE):
            reset = inputs_to_reset(workload)
            eager = Side(lambda: workload.step(workload.model), reset)
            measured = timer.compare(eager, Side(lambda: workload.step(candidate), reset))
            context.note_flags(*measured.flags)
            if context.measure.samples_file:
                context.samples(measured.samples())
            yield {**measured.row(), **timer.process_row()}
            yield difference("overhead_us", measured.samples(), context.measure.ci_level, calls)

    def _bare(
        self, workload: Workload, candidate: Callable[..., Any], timer: Timer, context: Context, calls: int
    ) -> Iterator[Row]:
        from runner.measure.engine import Side

        with context.phase(Phase.MEASURE):
            output = forward(workload, candidate)
            nothing = Side(lambda: forward(workload, lambda *_, **__: output))
            found = timer.compare(nothing, Side(lambda: forward(workload, candidate)), name=f"{context.cell.name}/bare")
            yield difference("bare_us", found.samples(), context.measure.ci_level, calls)


def forward(workload: Workload, f: Callable[..., Any]) -> Any:
    """The forward part of a step with `f` in the model's place, alone."""
    import torch

    from runner.workload import Mode

    grad = workload.grad or workload.mode is Mode.training
    with torch.set_grad_enabled(grad), workload.autocast():
        return f(*workload.args, **workload.kwargs)


def difference(name: str, samples: Mapping[str, Any], level: float, calls: int) -> Row:
    """How many microseconds side B takes longer: the Hodges-Lehmann centre of the pairs' differences, its interval."""
    from runner.measure.statistics import hodges_lehmann

    found = hodges_lehmann((samples["tB"] - samples["tA"]) * 1e6, level)
    known = found.lo == found.lo
    return {
        name: found.center,
        f"{name}_lo": found.lo if known else None,
        f"{name}_hi": found.hi if known else None,
        f"{name}_per_graph": found.center / calls if calls else None,
    }


def lookup_us(step: Callable[[], Any]) -> float | None:
    """Median over some profiled steps of the time of all cache lookups in one; None where there are none."""
    from torch.profiler import ProfilerActivity, profile

    found = []
    for _ in range(PROFILED_CALLS):
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            step()
        found.append(sum(e.time_range.elapsed_us() for e in profiler.events() if e.name == LOOKUP))
    return statistics.median(found) or None
