"""Compiles, checks and times one operator with one set of inputs at a time; what fails ends that sample only."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from runner import compare_outputs
from runner.errors import Unsupported
from runner.measure.engine import Side
from runner.measure.settings import ClockKind, Gc, Measure
from runner.operators import roofline
from runner.operators.inputs import Call, Setting, make, memory_format
from runner.operators.outcome import Failure, Reason, failure
from runner.operators.sides import Direction, Function, Program, backward_of, copies, forward, without_guards
from runner.operators.values import InputSet
from runner.results.columns import Phase, Row
from runner.state import overlaps
from runner.timing import Timer, seeding
from runner.workload import Mode, Workload, tensors_of

if TYPE_CHECKING:
    from torch._ops import OpOverload

    from runner.experiment import Context

#: Absolute and relative tolerance of the comparison with eager, by the narrowest floating dtype of a sample.
TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}


@dataclass
class Sample:
    """One input set in one direction: what is known of it so far, in `row`."""

    entry: InputSet
    direction: Direction
    row: Row = field(default_factory=dict)
    failed: Failure | None = None
    function: Function | None = None  # what the backend made, once it is compiled and right

    def fail(self, found: Failure) -> None:
        """Note why there will be no number."""
        self.failed = found
        self.row |= {"status": found.status.value, "reason": found.reason.value, "error": found.text}


class Bench:
    """Measures samples of one operator. Functions that a backend made are kept for equal graphs."""

    def __init__(self, context: Context, operator: OpOverload, setting: Setting, guards: bool) -> None:
        self._context, self._operator, self._setting, self._guards = context, operator, setting, guards
        self._compiled: dict[tuple[str, Direction, tuple[int, ...]], Function] = {}
        self._ceilings = roofline.ceilings(context.device)
        self._seed = seeding(setting.device, setting.seed)

    def prepare(self, sample: Sample) -> bool:
        """Run eager, compile, compare. False where the operator has no such direction; failures are noted."""
        try:
            return self._prepare(sample)
        except Failure as found:
            sample.fail(found)
            return True

    def _prepare(self, sample: Sample) -> bool:
        call = self._inputs(sample)
        program = Program.of(call)
        with self._phase(Phase.EAGER, Reason.EAGER):
            try:
                eager, held = self._timed_result(program, program.function, sample.direction)
            except (Unsupported, NotImplementedError, RuntimeError):
                if sample.direction is Direction.backward:
                    return False
                raise
        sample.row |= self._work(call, eager)
        with self._phase(Phase.COMPILE, Reason.COMPILE), _reusable_backward():
            function = self._function(program, sample)
            found, changed = self._timed_result(program, function, sample.direction)
        with self._phase(Phase.CHECK, Reason.COMPILE):
            sample.row |= self._compare(program, sample, (eager, held), (found, changed))
        sample.function = function
        return True

    def _inputs(self, sample: Sample) -> Call:
        try:
            return make(self._operator, sample.entry, replace(self._setting, free_bytes=self._free()))
        except Unsupported as error:
            text = str(error)
            known = {"sparse": Reason.SPARSE, "the inputs take": Reason.TOO_LARGE}
            reason = next((r for start, r in known.items() if text.startswith(start)), Reason.NO_OPERATOR)
            raise Failure(reason, text) from error
        except Exception as error:  # whatever a recorded line makes torch say is this sample's end
            raise failure(error, Reason.INPUTS) from error

    def _free(self) -> int | None:
        return self._context.device.free_memory_bytes()

    @contextmanager
    def _phase(self, phase: Phase, reason: Reason) -> Iterator[None]:
        """A phase in which an exception ends the sample for `reason`."""
        try:
            with self._context.phase(phase):
                yield
        except Failure:
            raise
        except Exception as error:  # the operator's row counts it
            raise failure(error, reason) from error

    def _timed_result(self, program: Program, function: Function, direction: Direction) -> tuple[Any, Any]:
        """`_result`, and more time for the measurement where it took long."""
        began = time.perf_counter()
        result = self._result(program, function, direction)
        self._context.device.synchronize()
        self._context.expect_call(time.perf_counter() - began)
        return result

    def _result(self, program: Program, function: Function, direction: Direction) -> tuple[Any, Any]:
        """What a call gives, and the inputs after it where it writes to them."""
        self._seed()
        grads = program.call.grads if direction is Direction.backward else ()
        tensors = copies(program.call.tensors, grads)
        out = backward_of(function, tensors, grads)() if grads else forward(function, tensors)
        return out, tensors if program.mutates else ()

    def _function(self, program: Program, sample: Sample) -> Function:
        key = (sample.entry.text, sample.direction, program.call.grads)
        if key not in self._compiled:
            assert self._context.backend is not None
            function = self._context.backend.prepare(self._workload(program, sample.direction))
            self._result(program, function, sample.direction)
            self._compiled[key] = function if self._guards else without_guards(function, program)
        return self._compiled[key]

    def _workload(self, program: Program, direction: Direction) -> Workload:
        backward = direction is Direction.backward
        return Workload(
            name=str(self._operator),
            model=program.function,
            args=tuple(copies(program.call.tensors, program.call.grads if backward else ())),
            mode=Mode.training if backward else Mode.inference,
            source="operator log",
            device=self._setting.device,
            grad=backward,
        )

    def _work(self, call: Call, eager: Any) -> Row:
        try:
            operations = roofline.flops(call, eager)
        except (TypeError, IndexError, AssertionError, AttributeError, ValueError):
            operations = None  # torch's formula has another signature than the operator
        return {"bytes": roofline.moved_bytes(call, list(tensors_of(eager))), "flop": operations}

    def _compare(self, program: Program, sample: Sample, eager: Any, found: Any) -> Row:
        """Columns of the check; raises Failure for a wrong result."""
        if program.random:
            self._same_form(eager, found)
            return {"accuracy": "not_compared", "reference": "none"}
        rule = compare_outputs.Rule(self._tolerance(program.call), scale=_size(eager))
        comparison, reference = compare_outputs.compare(eager, found, None, rule), "none"
        if not comparison.ok:
            precise = self._precise(program, sample.direction)
            if precise is not None:
                comparison, reference = compare_outputs.compare(eager, found, precise, rule), "fp64"
        worst = comparison.worst
        row: Row = {
            "accuracy": "pass" if comparison.ok else "fail_accuracy",
            "reference": reference,
            "max_abs_err": comparison.max_abs_err,
            "max_rel_err": comparison.max_rel_err,
        }
        if not comparison.ok:
            sample.row |= row
            raise Failure(Reason.WRONG, f"{worst.tensor}: {worst.reason}" if worst else "")
        return row

    def _same_form(self, eager: Any, found: Any) -> None:
        forms = [[(t.shape, t.dtype) for t in tensors_of(side)] for side in (eager, found)]
        if forms[0] != forms[1]:
            raise Failure(Reason.WRONG, f"tensors {forms[1]} instead of {forms[0]}")

    def _precise(self, program: Program, direction: Direction) -> Any:
        """What eager gives in fp64; None where it can't."""
        try:
            precise = program.precise()
            return self._result(precise, precise.function, direction)
        except (RuntimeError, NotImplementedError, TypeError, Unsupported):
            return None

    def _tolerance(self, call: Call) -> float:
        given = (self._context.cell.config.get("policy") or {}).get("tolerance")
        if given is not None:
            return float(given)
        dtypes = [t.dtype for t in call.tensors if t.is_floating_point()]
        return max((TOLERANCE.get(dtype, 1e-2) for dtype in dtypes), default=1e-4)

    def measure(self, sample: Sample, timer: Timer, budget_s: float) -> None:
        """Time both sides of a prepared sample; `budget_s` bounds the warm-up and the pairs, each."""
        try:
            with self._phase(Phase.MEASURE, Reason.MEASURE):
                self._measure(sample, timer, budget_s)
        except Failure as found:
            sample.fail(found)

    def _measure(self, sample: Sample, timer: Timer, budget_s: float) -> None:
        call = self._inputs(sample)
        program = Program.of(call)
        given: Measure = self._context.measure
        settings = replace(given, gc=Gc.inherit, max_time_s=budget_s, warmup_max_s=min(given.warmup_max_s, budget_s))
        events = self._context.device.event() is not None
        assert sample.function is not None
        with ExitStack() as active:
            if sample.direction is Direction.forward:
                active.enter_context(torch.no_grad())
            calls, graphs = self._calls(program, sample.function, sample.direction), False
            if sample.direction is Direction.forward:  # autograd runs a backward on the stream of its forward
                calls, graphs = self._graphed(calls)
            reset = _restoring(call.tensors) if program.mutates else None
            a, b = (Side(one, reset) for one in calls)
            measured = timer.with_settings(settings).compare(
                a,
                b,
                name=f"{self._operator}/{sample.entry.text}/{sample.direction.value}",
                clock_kind=ClockKind.device if events else ClockKind.wall,
                l2_flush=events,
            )
        sample.row |= {**_timed(measured.row()), "graphs": graphs, "flags": ";".join(measured.flags)}
        sample.row |= self._rates(sample.row, call)
        sample.row["status"] = "ok"

    def _calls(self, program: Program, function: Function, direction: Direction) -> Sequence[Callable[[], Any]]:
        tensors = program.call.tensors
        if direction is Direction.forward:
            return [partial(f, *tensors) for f in (program.function, function)]
        grads = program.call.grads
        return [backward_of(f, copies(tensors, grads), grads) for f in (program.function, function)]

    def _graphed(self, calls: Sequence[Callable[[], Any]]) -> tuple[Sequence[Callable[[], Any]], bool]:
        """Both calls as graphs of the device, or both as they are: one of them may not be recordable."""
        try:
            graphs = [self._context.device.graphed(call) for call in calls]
        except RuntimeError:  # what torch raises for an operator that waits for the device
            self._context.device.synchronize()
            return calls, False
        found = [graph for graph in graphs if graph is not None]
        return (found, True) if len(found) == len(calls) else (calls, False)

    def _rates(self, row: Row, call: Call) -> Row:
        floats = [t.dtype for t in call.tensors if t.is_floating_point()]
        if row.get("bytes") is None or not floats:
            return {}
        nbytes, operations = row["bytes"], row.get("flop")
        rates: Row = {}
        for side in ("eager", "backend"):
            seconds = row[f"{side}_ms"] / 1e3
            rates[f"{side}_gb_s"] = nbytes / seconds / 1e9
            rates[f"{side}_gflop_s"] = operations / seconds / 1e9 if operations else None
            rates[f"{side}_roofline"] = roofline.fraction(seconds, nbytes, operations, self._ceilings, floats[0])
        return rates

    def ceilings(self) -> Row:
        """The ceilings that the samples were held against."""
        dtype = getattr(torch, self._setting.precision)
        flops = self._ceilings.matmul_flop_s(dtype)
        return {"copy_gb_s": self._ceilings.copy_bytes_s / 1e9, "matmul_gflop_s": flops and flops / 1e9}


def described(entry: InputSet) -> Row:
    """The columns that say which input set it is."""
    return {"count": entry.count, "inputs": entry.text, "strides": memory_format(entry), "where": entry.where}


def _timed(row: Row) -> Row:
    names = ("speedup", "speedup_lo", "speedup_hi", "rel_hw", "n_pairs", "converged", "clock", "l2_flush")
    return {"eager_ms": row["eager_latency"], "backend_ms": row["abs_latency"], **{name: row[name] for name in names}}


def _size(result: Any) -> float:
    """Root mean square of the largest output, at least 1: rounding errors of a long sum grow with it."""
    outputs = [t.detach() for t in tensors_of(result) if t.is_floating_point() and t.numel()]
    sizes = [float(torch.linalg.vector_norm(t.float())) / math.sqrt(t.numel()) for t in outputs]
    return max((1.0, *(size for size in sizes if math.isfinite(size))))


def _restoring(tensors: Sequence[torch.Tensor]) -> Callable[[], None]:
    written = [tensor for tensor in tensors if not overlaps(tensor)]
    saved = copies(written)

    def restore() -> None:
        for tensor, value in zip(written, saved, strict=True):
            tensor.detach().as_strided(tensor.shape, tensor.stride()).copy_(value)

    return restore


@contextmanager
def _reusable_backward() -> Iterator[None]:
    """Compile so that one forward's backward can run many times: buffers that it may give away can't be."""
    import torch._functorch.config as functorch

    with functorch.patch(donated_buffer=False):
        yield
