"""How long does compiling take: cold, in a second process with warm caches, and again in the same process?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.cells import Cell
from runner.compiling.caches import fresh_caches, use_caches
from runner.compiling.stats import COMPILE_METRICS, STATISTICS, Mark, backed
from runner.experiment import Attempt, Context, Experiment, Outcome
from runner.results.columns import Column, Phase, Row, Status, join_flags

if TYPE_CHECKING:
    from runner.workload import Workload

#: start -> what it finds.
STARTS = {
    "cold": "in a fresh process, compiler caches empty",
    "warm": "in a second process, with the caches that the first left",
    "cached": "in the first process again, after dynamo forgot everything: the compilers' caches are hot",
}
#: Flag of a row without instruction counts.
NO_COUNTER = "instructions_unsupported"

COLUMNS = (
    *(
        column
        for start, meaning in STARTS.items()
        for column in (
            Column(f"compile_{start}_s", float, "s", f"first call of the backend {meaning}; geometric mean"),
            Column(f"compile_{start}_s_lo", float, "s", "lower end of its interval over the repeats"),
            Column(f"compile_{start}_s_hi", float, "s", "upper end of its interval over the repeats"),
        )
    ),
    Column("repeats", int, "", "pairs of fresh processes that this was estimated from"),
    Column("ci_level", float, "", "confidence level of the intervals"),
    Column("instructions", int, "", "instructions of the thread that compiles, cold: the least of the repeats"),
    Column("instructions_range_pct", float, "%", "spread of the repeats' instructions, of the least"),
    Column("cache_hits", int, "", "graphs that the warm start found in the caches"),
    Column("cache_misses", int, "", "graphs that it did not find"),
    *STATISTICS,
)
STARTS_TABLE = (
    Column("repeat", int, "", "which pair of processes, from 0"),
    Column("start", str, "", "cold, warm, cached"),
    Column("seconds", float, "s", "first call of the backend"),
    Column("instructions", int, "", "instructions of the thread that compiles; empty where nothing counts them"),
    Column("cache_hits", int, "", "graphs found in the caches"),
    Column("cache_misses", int, "", "graphs not found"),
)


@dataclass
class CompileTime(Experiment):
    """Two fresh processes a repeat: the first compiles cold and then once more, the second finds the first's caches."""

    columns = COLUMNS
    tables = {"compile_starts": STARTS_TABLE, "compile_metrics": (*STARTS_TABLE[:2], *COMPILE_METRICS)}
    one_process = True
    fresh_starts = True
    summary = (*(f"compile_{start}_s" for start in STARTS), "instructions", "unique_graphs", "calls_captured")

    repeats: int = 3

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise ValueError(f"experiment.repeats={self.repeats}: give a number above 0")

    def expand(self, cell: Cell) -> Iterable[Cell]:
        """The cell itself; one without a backend compiles nothing."""
        return backed(cell, "experiment=compile_time times a backend's compiler")

    def attempts(self, cell: Cell) -> Generator[Attempt, Outcome, Row]:
        """Repeats with caches of their own; the first failure ends the cell."""
        outcomes: list[Outcome] = []
        for repeat in range(self.repeats):
            with fresh_caches() as caches:
                for start in ("cold", "warm"):
                    outcome = yield Attempt(cell, {"caches": caches, "start": start, "repeat": repeat})
                    outcomes.append(outcome)
                    if outcome.status is not Status.OK:
                        return {**combined(outcomes, cell.config["measure"]["ci_level"]), **_failure(outcome)}
        return combined(outcomes, cell.config["measure"]["ci_level"])

    def run(self, workload: Workload, context: Context) -> Iterable[Row]:
        """Eager first, so that what only its first call does is not taken for compiling."""
        import torch

        with context.phase(Phase.EAGER):
            workload.step(workload.model)
            context.device.synchronize()
        use_caches(context.options["caches"])
        with context.phase(Phase.COMPILE):
            mark = Mark.now()
            yield from self._start(context.options["start"], workload, context)
            if context.options["start"] == "cold":
                yield mark.statistics_since()
                torch._dynamo.reset()
                yield from self._start("cached", workload, context)

    def _start(self, start: str, workload: Workload, context: Context) -> Iterator[Row]:
        from runner.compiling.instruction_count import counted

        assert context.backend is not None
        mark, before = Mark.now(), cache_counts()
        seconds, instructions = counted(lambda: first_call_s(workload, context))
        if instructions is None:
            context.note_flags(NO_COUNTER)
        hits, misses = (after - earlier for after, earlier in zip(cache_counts(), before, strict=True))
        key = {"repeat": context.options["repeat"], "start": start}
        facts = {"instructions": instructions, "cache_hits": hits, "cache_misses": misses}
        context.table("compile_starts", [{**key, "seconds": seconds, **facts}])
        context.table("compile_metrics", [{**key, **row} for row in mark.phases_since()])
        yield {f"compile_{start}_s": seconds, **(facts if start != "cached" else {})}


def first_call_s(workload: Workload, context: Context) -> float:
    """Seconds for preparing the backend and one step with it, backward included in training."""
    assert context.backend is not None
    started = time.perf_counter()
    candidate: Callable[..., Any] = context.backend.prepare(workload)
    workload.step(candidate)
    context.device.synchronize()
    return time.perf_counter() - started


def cache_counts() -> tuple[int, int]:
    """Graphs found and not found in AOT autograd's cache and, where that was not asked, in inductor's."""
    from torch._dynamo.utils import counters

    aot, inductor = counters["aot_autograd"], counters["inductor"]
    hits = aot["autograd_cache_hit"] or inductor["fxgraph_cache_hit"]
    misses = aot["autograd_cache_miss"] or inductor["fxgraph_cache_miss"]
    return hits, misses


def combined(outcomes: Sequence[Outcome], level: float) -> Row:
    """One row of all processes: means with intervals, the least instructions, the last warm start's cache hits."""
    row = dict(outcomes[0].row)
    for name in (f"compile_{start}_s" for start in STARTS):
        row |= estimate(name, [o.values[name] for o in outcomes if name in o.values], level)
    counts = [o.values["instructions"] for o in outcomes if _is_cold(o.values) and o.values.get("instructions")]
    row["instructions"] = min(counts, default=None)
    row["instructions_range_pct"] = 100 * (max(counts) / min(counts) - 1) if len(counts) > 1 else None
    warm = [o.values for o in outcomes if not _is_cold(o.values)]
    row |= {name: warm[-1].get(name) if warm else None for name in ("cache_hits", "cache_misses")}
    row["flags"] = join_flags(*(o.values.get("flags") for o in outcomes))
    return {**row, "repeats": len(warm), "ci_level": level}


def _is_cold(values: Mapping[str, Any]) -> bool:
    return "compile_cold_s" in values


def estimate(name: str, seconds: Sequence[float], level: float) -> Row:
    """Geometric mean with Student's interval over the processes; the interval needs two of them."""
    if not seconds:
        return {}
    from runner.measure.statistics import combine_processes

    found = combine_processes([math.log(value) for value in seconds], [math.nan], level).interval
    row: Row = {name: math.exp(found.center)}
    if len(seconds) > 1:
        row |= {f"{name}_lo": math.exp(found.lo), f"{name}_hi": math.exp(found.hi)}
    return row


def _failure(outcome: Outcome) -> Row:
    return {name: outcome.row[name] for name in ("status", "phase", "error_type", "error")}
