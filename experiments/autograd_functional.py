"""Measures what derivatives of a loss by the parameters cost, by each of torch's two functional interfaces."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

from runner import processes, registry
from runner.cells import Cell
from runner.compiling.caches import fresh_caches, use_caches
from runner.compiling.stats import STATISTICS, Mark
from runner.errors import UsageError
from runner.experiment import Attempt, Context, Experiment, Outcome
from runner.measure.statistics import median_interval
from runner.results.columns import Column, Phase, Row, Status
from runner.timing import MEASURED, Timer, step_peak_bytes

if TYPE_CHECKING:
    from runner.derivative_check import Agreement
    from runner.derivatives import Derivative, Problem
    from runner.measure.engine import Measurement
    from runner.workload import Workload

#: Tasks of `recommended` for a model whose suite names none for it.
USUAL = ("vjp", "vhp", "jvp")
#: Calls of the compiled side before it counts as compiled.
SETTLING_CALLS = 3
#: Columns that say how much faster B is than A; empty where A is only the forward pass.
SPEEDUPS = ("speedup", "speedup_lo", "speedup_hi", "speedup_median_ratio", "speedup_min", "verdict")
RATIOS = ("ratio_to_functional", "forward_ratio")

OWN = (
    Column("mean", float, "s", "mean time per call", headline=True),
    Column("var", float, "s^2", "unbiased variance of the time per call over blocks of block_b", headline=True),
    Column("api", str, "", "functional (torch.autograd.functional), func (torch.func) or compiled (func)"),
    Column("against", str, "", "side A of the pairs, whose time is eager_latency: forward, functional or func"),
    Column("median_ms", float, "ms", "median time per call"),
    Column("median_lo_ms", float, "ms", "lower end of its interval (order statistics); empty with few samples"),
    Column("median_hi_ms", float, "ms", "upper end of its interval"),
    Column("samples", int, "", "timed blocks that mean, var and median are over"),
    Column("ratio_to_functional", float, "", "time of this side over that of functional, in pairs"),
    Column("ratio_to_functional_lo", float, "", "lower end of the interval of ratio_to_functional"),
    Column("ratio_to_functional_hi", float, "", "upper end of the interval of ratio_to_functional"),
    Column("forward_ratio", float, "", "time of this side over that of one forward pass, in pairs"),
    Column("forward_ratio_lo", float, "", "lower end of the interval of forward_ratio"),
    Column("forward_ratio_hi", float, "", "upper end of the interval of forward_ratio"),
    Column("peak_mem", float, "GB", "peak memory of one call (1e9 bytes); on a CPU what it adds to the process"),
    Column("num_parameters", int, "", "numbers that are differentiated by"),
    Column("compile_s", float, "s", "first call of the compiled side, compiler caches empty"),
)


class Task(str, Enum):
    """A derivative under its upstream name; `recommended` are those that suit the model."""

    recommended = "recommended"
    vjp = "vjp"
    vhp = "vhp"
    jvp = "jvp"
    hvp = "hvp"
    jacobian = "jacobian"
    hessian = "hessian"
    hessian_fwdrev = "hessian_fwdrev"
    hessian_revrev = "hessian_revrev"
    jacfwd = "jacfwd"
    jacrev = "jacrev"


class Api(str, Enum):
    """Who differentiates; `both` are functional and func, and compiled where there is a backend."""

    functional = "functional"
    func = "func"
    compiled = "compiled"
    both = "both"


@dataclass
class AutogradFunctional(Experiment):
    """A cell per task and interface, torch.func paired with torch.autograd.functional after a check that they agree."""

    columns = (*OWN, *MEASURED, *STATISTICS)
    summary = ("api", "mean", "var", "ratio_to_functional", "forward_ratio", "peak_mem", "accuracy")

    task: Task = Task.recommended
    api: Api = Api.both
    run_slow_tasks: bool = False  # recommended means all ten, whatever the model's size

    def __post_init__(self) -> None:
        if self.run_slow_tasks and self.task is not Task.recommended:
            raise ValueError(f"experiment.run_slow_tasks=true widens task=recommended, not task={self.task.value}")

    def expand(self, cell: Cell) -> Iterable[Cell]:
        """A cell for each task and interface."""
        sides = _sides(self.api, cell.config.get("backend") is not None)
        for task in self._tasks(cell):
            for side in sides:
                own = cell.with_field("experiment", task=task, api=side.value, run_slow_tasks=False)
                yield own if side is Api.compiled else _without_backend(own)

    def _tasks(self, cell: Cell) -> Sequence[str]:
        if self.task is not Task.recommended:
            return (self.task.value,)
        if self.run_slow_tasks:
            return tuple(task.value for task in Task if task is not Task.recommended)
        tasks = getattr(registry.build(cell.config["suite"]), "tasks", None)
        return tasks(cell.name) if tasks else USUAL

    def attempts(self, cell: Cell) -> Generator[Attempt, Outcome, Row]:
        """`measure.processes` children; where one did not converge, once more at the end of the run."""
        outcomes = yield from processes.repeat(cell, {})
        if outcomes[-1].status is not Status.OK:
            return outcomes[-1].row
        row = combined([outcome.row for outcome in outcomes], cell.config["measure"])
        return (yield from processes.retry(cell, row, {"process": 0}))

    def run(self, workload: Workload, context: Context) -> Iterable[Row]:
        """First calls, check, memory, then the pairs."""
        from runner import derivatives

        task = self.task.value
        problem = derivatives.problem(workload, task, context.seed)
        yield {"api": self.api.value, "num_parameters": problem.numbers()}
        itemsize, free = problem.parameters[0].element_size(), context.device.free_memory_bytes()
        derivatives.check_memory(task, problem.numbers(), itemsize, free)
        sides = _Sides(workload, problem, task, context)
        own = yield from sides.first_calls(self.api)
        with context.phase(Phase.MEMORY):
            yield {"peak_mem": sides.peak_bytes(own) / 1e9}
        yield from sides.time(self.api, own)


@dataclass
class _Sides:
    """The callables of one cell; each takes nothing and computes all that its task asks for."""

    workload: Workload
    problem: Problem
    task: str
    context: Context

    def __post_init__(self) -> None:
        from runner.derivatives import FUNC, FUNCTIONAL

        self.by_functional, self.by_func = FUNCTIONAL[self.task], FUNC[self.task]
        #: Side A candidates, by their name; functional goes when torch refuses it.
        self.known: dict[str, Callable[[], Any]] = {
            "forward": self._forward,
            "functional": partial(self.by_functional.of, self.problem),
            "func": partial(self.by_func.of, self.problem),
        }

    def _forward(self) -> Any:
        import torch

        with torch.no_grad():
            return self.problem.loss(self.problem.inputs)(*self.problem.parameters)

    def first_calls(self, api: Api) -> Generator[Row, None, Callable[[], Any]]:
        """Call each side once, compile, and compare; returns the side that the row is about."""
        with self.context.phase(Phase.EAGER):
            self._call(self._forward, None)
            reference = self._functional(required=api is Api.functional)
            if api is Api.functional:
                return self.known["functional"]
            candidate = self._call(self.known["func"], self.by_func)
        own = self.known["func"]
        if api is Api.compiled:
            own, candidate = yield from self._compile()
        if reference is not None:
            with self.context.phase(Phase.CHECK):
                yield self._judge(reference, candidate, own)
        return own

    def _functional(self, required: bool) -> Any:
        """Result of torch.autograd.functional; None where torch refuses it and the row does not need it."""
        from runner.errors import Unsupported

        try:
            return self._call(self.known["functional"], self.by_functional)
        except Unsupported:
            if required:
                raise
            del self.known["functional"]
            self.context.note_flags("no_functional")
            return None

    def _call(self, call: Callable[[], Any], derivative: Derivative | None) -> Any:
        """One call from the cell's seed; what torch has no derivative of becomes `Unsupported`."""
        import torch

        from runner.derivatives import refused

        torch.manual_seed(self.context.seed)
        started = time.perf_counter()
        try:
            out = call()
        except Exception as error:
            reason = derivative and refused(error, derivative, self.workload.name)
            if reason:
                raise reason from error
            raise
        self.context.device.synchronize()
        self.context.expect_call(time.perf_counter() - started)
        return out

    def _compile(self) -> Generator[Row, None, tuple[Callable[[], Any], Any]]:
        """The compiled side and its result; its first call has empty compiler caches."""
        mark = Mark.now()
        with fresh_caches() as caches, self.context.phase(Phase.COMPILE):
            use_caches(caches)
            own = self._compiled()
            started = time.perf_counter()
            self._call(own, self.by_func)
            compile_s = time.perf_counter() - started
            for _ in range(SETTLING_CALLS):
                result = self._call(own, self.by_func)
        found = mark.statistics_since()
        if not found["unique_graphs"]:
            self.context.note_flags("not_compiled")
        yield {"compile_s": compile_s, **found}
        return own, result

    def _compiled(self) -> Callable[[], Any]:
        assert self.context.backend is not None
        problem, derivative = self.problem, self.by_func

        def compute(parameters: Any, vector: Any, inputs: Any) -> Any:
            return derivative(parameters, vector, problem.loss, inputs)

        arguments = (problem.parameters, problem.vector, problem.inputs)
        call = self.context.backend.prepare(replace(self.workload, model=compute, args=arguments, kwargs={}))
        return partial(call, *arguments)

    def _judge(self, reference: Any, candidate: Any, own: Callable[[], Any]) -> Row:
        """The verdict; two that differ are computed once more without TF32, whose rounding two formulas don't share."""
        from runner.determinism import without_tf32

        found = self._agreement(reference, candidate)
        if not found.word.startswith("pass"):
            with without_tf32():
                precise = self._agreement(self._call(self.known["functional"], None), self._call(own, None))
            if precise.word.startswith("pass"):
                self.context.note_flags("differs_in_tf32")
                return precise.row()
        return found.row()

    def _agreement(self, reference: Any, candidate: Any) -> Agreement:
        from runner.derivative_check import agreement

        free = self.context.device.free_memory_bytes()
        held = sum(tensor.nbytes for tensor in self.problem.parameters)
        # parameters, gradient and a product of them in fp64, and as much again for what lies between
        fits = free is None or free > 12 * held
        policy = self.workload.policy
        in_fp64 = self._precise if fits and policy.reference is not False else None
        return agreement(self.task, reference, candidate, in_fp64, policy.tolerance)

    def _precise(self) -> Any:
        import torch

        torch.manual_seed(self.context.seed)
        return self.by_functional.of(self.problem.double())

    def peak_bytes(self, own: Callable[[], Any]) -> int:
        """Peak memory of one call."""
        problem = self.problem
        arguments = (problem.parameters, problem.vector, problem.inputs)
        step = replace(self.workload, model=own, args=arguments, kwargs={}, grad=True)
        return step_peak_bytes(step, lambda *_: own(), self.context)

    def time(self, api: Api, own: Callable[[], Any]) -> Iterator[Row]:
        """The pairs: against the side that the row is compared with, then against what its ratios need."""
        with self.context.phase(Phase.WARMUP):
            timer = Timer(self.context)
        first = next(name for name in AGAINST[api] if name in self.known)
        with self.context.phase(Phase.MEASURE):
            measured = self._pairs(timer, first, own, "")
            self.context.note_flags(*measured.flags)
            row = {**measured.row(), **timer.process_row(), **spread(measured), **ratios(first, measured)}
            row["against"] = first
            yield row if first != "forward" else row | dict.fromkeys(SPEEDUPS)
            for name in ("functional", "forward"):
                if name in self.known and name != first and api is not Api.functional:
                    yield ratios(name, self._pairs(timer, name, own, f"{name}_"))

    def _pairs(self, timer: Timer, name: str, own: Callable[[], Any], prefix: str) -> Measurement:
        """Measure `own` against the side `name`; its samples are kept under `prefix`."""
        from runner.measure.engine import Side

        seeded_by = f"{self.context.cell.name}/{self.task}/{name}"
        measured = timer.compare(Side(self.known[name]), Side(own), name=seeded_by)
        if self.context.measure.samples_file:
            process = self.context.options["process"]
            self.context.samples({f"{prefix}{key}_{process}": a.tolist() for key, a in measured.samples().items()})
        return measured


#: What a row's side is compared with first; what stands behind it where that can't be had.
AGAINST = {Api.functional: ("forward",), Api.func: ("functional", "forward"), Api.compiled: ("func",)}


def spread(measured: Measurement) -> Row:
    """Mean, variance and median of side B."""
    seconds = measured.samples()["tB"].tolist()
    median = median_interval(seconds, measured.settings.ci_level)
    return {
        "mean": statistics.fmean(seconds),
        "var": statistics.variance(seconds) if len(seconds) > 1 else None,
        "samples": len(seconds),
        "median_ms": median.center * 1e3,
        "median_lo_ms": _known(median.lo * 1e3),
        "median_hi_ms": _known(median.hi * 1e3),
    }


def ratios(against: str, measured: Measurement) -> Row:
    """The measurement as time of B over time of A, where that has a column."""
    name = {"functional": "ratio_to_functional", "forward": "forward_ratio"}.get(against)
    if name is None:
        return {}
    row = measured.row()
    ends = {f"{name}_lo": row["speedup_hi"], f"{name}_hi": row["speedup_lo"]}
    return {name: 1 / row["speedup"], **{end: value and 1 / value for end, value in ends.items()}}


def combined(rows: Sequence[Row], measure: Mapping[str, Any]) -> Row:
    """One row of several processes: ratios and median over the processes, all samples pooled."""
    if len(rows) == 1:
        return rows[0]
    row, level = processes.combined(rows, measure, instead="forward_ratio"), measure["ci_level"]
    for name in RATIOS:
        row |= processes.ratio(rows, name, level)
    return row | processes.ratio(rows, "median", level, "_ms") | _pooled(rows)


def _pooled(rows: Sequence[Row]) -> Row:
    """Mean and variance of all samples together."""
    count = sum(row["samples"] for row in rows)
    mean = sum(row["samples"] * row["mean"] for row in rows) / count
    within = sum((row["samples"] - 1) * (row["var"] or 0) for row in rows)
    between = sum(row["samples"] * (row["mean"] - mean) ** 2 for row in rows)
    return {"samples": count, "mean": mean, "var": (within + between) / (count - 1)}


def _sides(api: Api, with_backend: bool) -> Sequence[Api]:
    """Raises UsageError where interface and backend don't go together."""
    if api is Api.both:
        return (Api.functional, Api.func, Api.compiled) if with_backend else (Api.functional, Api.func)
    if (api is Api.compiled) != with_backend:
        needs = "needs a backend: add backend=inductor"
        takes_none = "takes no backend: use experiment.api=compiled or both"
        raise UsageError(f"experiment.api={api.value} {needs if api is Api.compiled else takes_none}")
    return (api,)


def _without_backend(cell: Cell) -> Cell:
    """The cell as it would be if no backend had been named: same identity, same row."""
    config = {key: value for key, value in cell.config.items() if key != "backend"}
    choices = {key: value for key, value in config["choices"].items() if key != "backend"}
    return replace(cell, config={**config, "choices": choices})


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
