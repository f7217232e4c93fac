"""How much of a model does the compiler capture? Operators and time inside and outside compiled graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.cells import Cell
from runner.compiling.stats import CAPTURE, Mark, backed
from runner.experiment import Context, Experiment
from runner.results.columns import Column, Phase, Row

if TYPE_CHECKING:
    from runner.workload import Workload

#: Calls before the counted one: dynamo has compiled, and learnt which sizes vary.
WARM_CALLS = 3

COLUMNS = (
    CAPTURE[0],
    Column("graph_calls", int, "", "calls of compiled graphs in one step", headline=True),
    Column("captured_ops", int, "", "eager's operators that the backend has in compiled graphs", headline=True),
    Column("total_ops", int, "", "operators of one eager step: forward, in training also backward", headline=True),
    Column("pct_ops", float, "%", "captured_ops of total_ops", headline=True),
    Column("pct_time", float, "%", "share of the model's time that it spends in compiled graphs", headline=True),
    Column("outside_ops", int, "", "operators that the backend runs outside compiled graphs"),
    Column("graph_ops", int, "", "operators that the compiled graphs call; a compiler that fuses calls fewer"),
    *CAPTURE[1:],
)


@dataclass
class Coverage(Experiment):
    """Profiles one eager step and one of the backend, after it has compiled, and counts operators in both."""

    columns = COLUMNS

    def expand(self, cell: Cell) -> Iterable[Cell]:
        """The cell itself; one without a backend captures nothing."""
        return backed(cell, "experiment=coverage counts what a backend captures")

    def run(self, workload: Workload, context: Context) -> Iterable[Row]:
        """Eager, compile, count; each counted step starts from the same weights and random numbers."""
        from runner.compiling.coverage import Marks, Place

        assert context.backend is not None
        step = starter(workload, context)
        marks = Marks()
        with context.phase(Phase.EAGER):
            step(workload.model)
            eager = marks.count(step, workload.model)
        total = eager.operators[Place.OUTSIDE]
        yield {"total_ops": total}
        mark = Mark.now()
        with marks.watching():
            with context.phase(Phase.COMPILE):
                candidate = context.backend.prepare(workload)
                for _ in range(WARM_CALLS):
                    step(candidate)
            yield mark.capture_since()
            with context.phase(Phase.MEASURE):
                found = marks.count(step, candidate)
        outside = found.operators[Place.OUTSIDE]
        captured = max(0, total - outside)
        yield {
            "graph_calls": found.graph_calls,
            "captured_ops": captured,
            "pct_ops": 100 * captured / total if total else None,
            "pct_time": found.inside_pct,
            "outside_ops": outside,
            "graph_ops": found.operators[Place.GRAPH],
        }


def starter(workload: Workload, context: Context) -> Callable[[Callable[..., Any]], Any]:
    """A step that always starts from the present weights, optimizer state and the cell's seed."""
    import torch

    from runner.state import State

    state = State(workload)

    def step(f: Callable[..., Any]) -> None:
        state.restore()
        torch.manual_seed(context.seed)
        workload.step(f)
        context.device.synchronize()

    return step
