"""How far is the backend from the model in eager on the CPU, and from the model in float64?"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.cells import Cell
from runner.determinism import ENVIRONMENT, as_asked
from runner.experiment import Attempt, Context, Experiment, Outcome
from runner.results.columns import Column, Phase, Row, Status
from runner.results.verdicts import FAIL_ACCURACY

if TYPE_CHECKING:
    from runner.collect import Result
    from runner.workload import Workload

PARTS = {"max": "largest distance", "mean": "mean distance", "std": "standard deviation of the distances"}
PAIRS = {
    "": "of the backend from eager on the CPU",
    "fp64_": "of the backend from the model in float64",
    "eager_fp64_": "of eager itself, on the cell's device, from the model in float64",
}


@dataclass
class Tolerance(Experiment):
    """Distances per element, |reference - result| / (1 + |reference|), over everything that some steps gave.

    These are outputs, losses, gradients, buffers and parameters, of every dtype.
    """

    columns = (
        *(
            Column(f"{pair}{part}", float, "", f"{words} {meaning}", headline=not pair)
            for pair, meaning in PAIRS.items()
            for part, words in PARTS.items()
        ),
        Column("elements", int, "", "elements that were compared"),
        Column("determinism", str, "", "settings for repeatable numbers that were in force, separated by ;"),
    )
    summary = ("max", "mean", "std", "fp64_max", "eager_fp64_max", "worst_tensor")

    iterations: int = 1  # steps; each further one amplifies what the one before differed by
    deterministic: bool = True

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ValueError(f"experiment.iterations={self.iterations}: give a number above 0")

    def attempts(self, cell: Cell) -> Generator[Attempt, Outcome, Row]:
        """One child, with the environment that repeatable numbers need."""
        outcome = yield Attempt(cell, env=ENVIRONMENT if self.deterministic else {})
        return outcome.row

    def run(self, workload: Workload, context: Context) -> Iterable[Row]:
        """Eager, its copies on the CPU and in float64, then the backend; each from the same state, without dropout."""
        from runner import deviation

        with ExitStack() as stack:
            applied = stack.enter_context(as_asked(workload, context.seed, wanted=self.deterministic))
            start = stack.enter_context(started(workload))
            yield {"determinism": applied.words}
            with context.phase(Phase.EAGER):
                cpu, fp64 = deviation.on_cpu(workload), deviation.in_fp64(workload)
                references = {"": self._steps(cpu, cpu.model, context), "fp64_": self._in_fp64(fp64, context)}
                eager = self._steps(workload, workload.model, context)
                yield distances("eager_fp64_", eager, references["fp64_"])
            with context.phase(Phase.COMPILE):
                assert context.backend is not None
                candidate = context.backend.prepare(workload)
                start()
                workload.step(candidate)
            with context.phase(Phase.CHECK):
                start()
                found = self._steps(workload, candidate, context)
                yield compared(found, eager, references)
        context.note_flags(*applied.flags)

    def _steps(self, workload: Workload, f: Callable[..., Any], context: Context) -> Result:
        from runner.collect import collect
        from runner.state import Inputs

        return collect(workload, f, Inputs(workload), seed=context.seed, num_steps=self.iterations, vary=False)

    def _in_fp64(self, workload: Workload, context: Context) -> Result:
        import torch

        from runner.reference import default_dtype

        with default_dtype(torch.float64):
            return self._steps(workload, workload.model, context)


@contextmanager
def started(workload: Workload) -> Iterator[Callable[[], None]]:
    """Dropout off; yields what takes weights, optimizer and inputs back to where they are now."""
    from runner.state import Inputs, State, dropout_off

    with dropout_off(workload.model):
        state, inputs = State(workload), Inputs(workload)

        def start() -> None:
            workload.zero_grad()
            state.restore()
            inputs.load()

        try:
            yield start
        finally:
            start()


def compared(found: Result, eager: Result, references: dict[str, Result]) -> Row:
    """All distances of the backend; `wrong_output` where it gave other shapes than eager, which have none."""
    from runner.deviation import shapes

    if shapes(found) != shapes(eager):
        row: Row = {"status": Status.WRONG_OUTPUT.value, "phase": Phase.CHECK.value, "accuracy": FAIL_ACCURACY}
        return row | {"error": "the backend's output has another structure or other shapes than eager's"}
    row = {}
    for pair, against in references.items():
        row |= distances(pair, found, against)
    return row


def distances(pair: str, result: Result, against: Result) -> Row:
    """The columns of one pair, and where the largest distance is."""
    from runner.deviation import deviation

    found = deviation(result, against)
    row: Row = {f"{pair}{part}": getattr(found, part) for part in PARTS}
    return row if pair else row | {"elements": found.num_elements, "worst_tensor": found.worst_tensor}
