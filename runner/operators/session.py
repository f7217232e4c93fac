"""All samples of one operator in one process: prepared one after the other, then measured one after the other."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from runner.measure.settings import Gc
from runner.operators.bench import Bench, Sample, described
from runner.operators.inputs import Setting
from runner.operators.outcome import Failure, Reason
from runner.operators.sides import Direction
from runner.operators.values import BadLine, InputSet
from runner.results.columns import Phase, Row
from runner.timing import Timer

if TYPE_CHECKING:
    from torch._ops import OpOverload

    from runner.experiment import Context


class Session:
    """`samples` are those that exist: a backward only where the operator has one for these inputs."""

    def __init__(
        self, context: Context, operator: OpOverload, guards: bool, against: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        config = context.cell.config
        self._context = context
        self._mutable = operator._schema.is_mutable
        setting = Setting(
            device=context.device.torch_name,
            precision=config["precision"]["dtype"],
            channels_last=bool((config.get("policy") or {}).get("channels_last")),
            seed=context.seed,
        )
        self._bench = Bench(context, operator, setting, guards, against)
        self._timer: Timer | None = None
        self.samples: list[Sample] = []

    def prepare(self, entries: Sequence[InputSet | BadLine]) -> None:
        """Compile and check; nothing is kept of the inputs, which are made again when they are measured."""
        for place, entry in enumerate(entries):
            for sample in self._samples_of(place, entry):
                if sample.failed is not None or self._bench.prepare(sample):
                    self.samples.append(sample)
                if sample.failed is not None:
                    self._report(sample)

    def _samples_of(self, place: int, entry: InputSet | BadLine) -> list[Sample]:
        if isinstance(entry, BadLine):
            sample = Sample(InputSet(1, ()), Direction.forward, {"input_set": place, "direction": "forward"})
            sample.fail(Failure(Reason.UNREADABLE, entry.why))
            return [sample]
        backward = any(spec.grad for spec in entry.tensors) and not self._mutable
        directions = list(Direction) if backward else [Direction.forward]
        known = described(entry)
        return [Sample(entry, d, {"input_set": place, "direction": d.value, **known}) for d in directions]

    def measure(self) -> None:
        """Time what compiled and is right; `measure.max_time_s` is shared by the samples."""
        ready = [sample for sample in self.samples if sample.failed is None]
        with self._context.phase(Phase.WARMUP):
            self._timer = Timer(self._context, canary=False)
        with _collecting_between(self._context.measure.gc) as tidy:
            for sample in ready:
                self._bench.measure(sample, self._timer, self._context.measure.max_time_s / len(ready))
                self._report(sample)
                sample.function, sample.others = None, {}
                tidy()
        torch._dynamo.reset()

    def _report(self, sample: Sample) -> None:
        self._context.table("operator_samples", [sample.row])

    def facts(self) -> Row:
        """Columns about the process and the device."""
        assert self._timer is not None
        process = self._timer.process_row()
        return {**self._bench.ceilings(), **{name: process[name] for name in ("threads", "malloc")}}


@contextmanager
def _collecting_between(policy: Gc) -> Iterator[Callable[[], object]]:
    """No garbage collection but by the function that is yielded, which looks at what is young.

    The engine's own way, a full collection before each measurement, takes longer than the measurement of an operator.
    """
    if policy is Gc.inherit or not gc.isenabled():
        yield lambda: None
        return
    gc.disable()
    try:
        yield lambda: gc.collect(1)
    finally:
        gc.enable()
