"""Compiles, checks and times one operator with one set of inputs at a time; what fails ends that sample only."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from runner import compare_outputs, registry
from runner.against import against_row
from runner.compiling.settings import CompilerSettings
from runner.errors import Unsupported
from runner.measure.engine import Side
from runner.measure.settings import ClockKind, Gc, Measure
from runner.operators import roofline
from runner.operators.inputs import Call, Setting, make, memory_format
from runner.operators.outcome import Failure, Reason, failure
from runner.operators.sides import (
    Direction,
    Function,
    Program,
    backward_of,
    backward_reads,
    copies,
    forward,
    without_guards,
)
from runner.operators.values import InputSet
from runner.results.columns import Phase, Row, join_flags
from runner.state import overlaps
from runner.timing import Timer, seeding
from runner.workload import Mode, Workload, tensors_of

if TYPE_CHECKING:
    from torch._ops import OpOverload

    from runner.backends import Backend
    from runner.experiment import Context
    from runner.measure.measurement import Measurement

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
    others: dict[str, Function] = field(default_factory=dict)  # the same of the further baselines, by name

    def fail(self, found: Failure) -> None:
        """Note why there will be no number."""
        self.failed = found
        self.row |= {"status": found.status.value, "reason": found.reason.value, "error": found.text}

    def pass_over(self, name: str, found: Failure) -> None:
        """Note why there will be no comparison with a further baseline, whose failure is not the sample's."""
        word = "wrong" if found.reason is Reason.WRONG else "failed"
        self.row["flags"] = join_flags(self.row.get("flags"), f"{name}_{word}")
        print(f"{name}, {self.direction.value} {self.entry.text}: {found.reason.value}: {found.text}", file=sys.stderr)


class Bench:
    """Measures samples of one operator; `against` are nodes of further baselines by name.

    What a backend made is kept for equal graphs: input sets are equal where they differed in what the precision sets.
    """

    def __init__(
        self, context: Context, operator: OpOverload, setting: Setting, guards: bool, against: Mapping[str, Any]
    ) -> None:
        self._context, self._operator, self._setting, self._guards = context, operator, setting, guards
        self._compiled: dict[tuple[Any, ...], Function] = {}
        self._against = against
        self._before = CompilerSettings()  # what the backend under test sets is not for the further baselines
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
        sample.row |= self._work(program, sample.direction, eager)
        assert self._context.backend is not None
        with self._phase(Phase.COMPILE, Reason.COMPILE), _reusable_backward():
            function = self._function(program, sample.direction, "", self._context.backend)
            found = self._timed_result(program, function, sample.direction)
        with self._phase(Phase.CHECK, Reason.COMPILE):
            columns, wrong = self._compare(program, sample.direction, (eager, held), found)
        sample.row |= columns
        if wrong is not None:
            raise wrong
        sample.function = function
        self._prepare_others(call, sample, (eager, held))
        return True

    def _prepare_others(self, call: Call, sample: Sample, eager: Any) -> None:
        """Compile and check the further baselines; one that fails or is wrong costs its own columns only."""
        for name, node in self._against.items():
            program = Program.of(call)  # code of its own: what dynamo compiled for other backends hangs on theirs
            try:
                with self._phase(Phase.COMPILE, Reason.COMPILE), self._before.restored(), _reusable_backward():
                    function = self._function(program, sample.direction, name, registry.build(node))
                    found = self._timed_result(program, function, sample.direction)
                with self._phase(Phase.CHECK, Reason.COMPILE):
                    wrong = self._compare(program, sample.direction, eager, found)[1]
            except Failure as failed:
                wrong = failed
            if wrong is None:
                sample.others[name] = function
            else:
                sample.pass_over(name, wrong)

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

    def _function(self, program: Program, direction: Direction, name: str, backend: Backend) -> Function:
        """What the backend made of the program or of an equal one; `name` tells the backends apart."""
        key = (name, direction, program.form)
        if key not in self._compiled:
            function = backend.prepare(self._workload(program, direction))
            self._result(program, function, direction)
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

    def _work(self, program: Program, direction: Direction, eager: Any) -> Row:
        """Bytes and operations; torch's formulas are of the operators themselves, not of their derivatives."""
        call, results = program.call, list(tensors_of(eager))
        if direction is Direction.backward:
            read = backward_reads(program.function, copies(call.tensors, call.grads))
            return {"bytes": roofline.total_bytes([*read, *results]), "flop": None}
        try:
            operations = roofline.flops(call, eager)
        except (TypeError, IndexError, AssertionError, AttributeError, ValueError):
            operations = None  # torch's formula has another signature than the operator
        return {"bytes": roofline.moved_bytes(call, results), "flop": operations}

    def _compare(self, program: Program, direction: Direction, eager: Any, found: Any) -> tuple[Row, Failure | None]:
        """Columns of the check, and the failure that a wrong result is."""
        if program.random:
            return {"accuracy": "not_compared", "reference": "none"}, _other_form(eager, found)
        rule = compare_outputs.Rule(self._tolerance(program.call), scale=_size(eager))
        comparison, reference = compare_outputs.compare(eager, found, None, rule), "none"
        if not comparison.ok:
            precise = self._precise(program, direction)
            if precise is not None:
                comparison, reference = compare_outputs.compare(eager, found, precise, rule), "fp64"
        worst = comparison.worst
        row: Row = {
            "accuracy": "pass" if comparison.ok else "fail_accuracy",
            "reference": reference,
            "max_abs_err": comparison.max_abs_err,
            "max_rel_err": comparison.max_rel_err,
        }
        if comparison.ok:
            return row, None
        return row, Failure(Reason.WRONG, f"{worst.tensor}: {worst.reason}" if worst else "")

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
        """Time both sides of a prepared sample, then the further baselines; together they share `budget_s`."""
        given: Measure = self._context.measure
        share_s = budget_s / (1 + len(sample.others))
        settings = replace(given, gc=Gc.inherit, max_time_s=share_s, warmup_max_s=min(given.warmup_max_s, share_s))
        own = timer.with_settings(settings)
        try:
            with self._phase(Phase.MEASURE, Reason.MEASURE):
                program = Program.of(self._inputs(sample))
                self._measure(program, sample, own)
        except Failure as found:
            sample.fail(found)
            return
        for name, function in sample.others.items():
            try:
                with self._phase(Phase.MEASURE, Reason.MEASURE):
                    measured, _ = self._paired(program, function, sample, own)
            except Failure as found:
                sample.pass_over(name, found)
            else:
                sample.row |= against_row(name, measured.row())

    def _measure(self, program: Program, sample: Sample, timer: Timer) -> None:
        measured, graphs = self._paired(program, program.function, sample, timer)
        flags = join_flags(sample.row.get("flags"), *measured.flags)
        sample.row |= {**_timed(measured.row()), "graphs": graphs, "flags": flags}
        sample.row |= self._rates(sample.row, program.call)
        sample.row["status"] = "ok"

    def _paired(
        self, program: Program, other: Function, sample: Sample, timer: Timer
    ) -> tuple[Measurement, bool]:
        """`other` and the backend in pairs, and whether both were replayed as graphs of the device."""
        events = self._context.device.event() is not None
        assert sample.function is not None
        with ExitStack() as active:
            if sample.direction is Direction.forward:
                active.enter_context(torch.no_grad())
            calls, graphs = self._calls(program, (other, sample.function), sample.direction), False
            if sample.direction is Direction.forward:  # autograd runs a backward on the stream of its forward
                calls, graphs = self._graphed(calls)
            reset = _restoring(program.call.tensors) if program.mutates else None
            a, b = (Side(one, reset) for one in calls)
            measured = timer.compare(
                a,
                b,
                name=f"{self._operator}/{sample.entry.text}/{sample.direction.value}",
                clock_kind=ClockKind.device if events else ClockKind.wall,
                l2_flush=events,
            )
        return measured, graphs

    def _calls(
        self, program: Program, functions: Sequence[Function], direction: Direction
    ) -> Sequence[Callable[[], Any]]:
        tensors, grads = program.call.tensors, program.call.grads
        if direction is Direction.forward:
            return [partial(f, *tensors) for f in functions]
        return [backward_of(f, copies(tensors, grads), grads) for f in functions]

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
        """What was moved and computed per second; a product of whole numbers is no floating-point operation."""
        dtype = next((t.dtype for t in call.tensors if t.is_floating_point()), None)
        nbytes, operations = row["bytes"], row["flop"]
        rates: Row = {}
        for side in ("eager", "backend"):
            seconds = row[f"{side}_ms"] / 1e3
            rates[f"{side}_gb_s"] = nbytes / seconds / 1e9
            rates[f"{side}_gflop_s"] = operations / seconds / 1e9 if operations else None
            rates[f"{side}_roofline"] = roofline.fraction(seconds, nbytes, operations, self._ceilings, dtype)
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


def _other_form(eager: Any, found: Any) -> Failure | None:
    forms = [[(t.shape, t.dtype) for t in tensors_of(side)] for side in (eager, found)]
    return Failure(Reason.WRONG, f"tensors {forms[1]} instead of {forms[0]}") if forms[0] != forms[1] else None


def _size(result: Any) -> float:
    """Root mean square of the largest output, at least 1: rounding errors of a long sum grow with it."""
    outputs = [t.detach() for t in tensors_of(result) if t.is_floating_point() and t.numel() and not t.is_sparse]
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
