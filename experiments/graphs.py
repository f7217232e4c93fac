"""What does the compiler make of a model? Its graphs, forward and backward, as readable files with histograms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.cells import Cell
from runner.compiling.caches import fresh_caches, use_caches
from runner.compiling.graph_files import GraphFile, Level, graph_files, operators
from runner.compiling.stats import backed
from runner.errors import Unsupported
from runner.experiment import Attempt, Context, Experiment, Outcome
from runner.results.columns import Column, Phase, Row

if TYPE_CHECKING:
    from runner.workload import Workload

COLUMNS = (
    Column("level", str, "", "how far down the compiler: dynamo, aot, inductor, code"),
    Column("graphs", int, "", "graphs that were written"),
    Column("forward_graphs", int, "", "those of the forward pass"),
    Column("backward_graphs", int, "", "those of the backward pass"),
    Column("ops", int, "", "calls of operators in them; at level code of kernels"),
    Column("unique_ops", int, "", "different operators, at level code kernels"),
    Column("folder", str, "", "where the files are, relative to the run's folder"),
)
OPERATORS = (
    Column("file", str, "", "the graph's file in the cell's artifacts"),
    Column("direction", str, "", "forward or backward"),
    Column("operator", str, "", "function, method (Tensor.NAME), operator or kernel"),
    Column("count", int, "", "its calls in the graph"),
)


@dataclass
class Graphs(Experiment):
    """Takes one step with empty compiler caches and writes every graph of one level."""

    columns = COLUMNS
    tables = {"operators": OPERATORS}
    summary = ("level", "graphs", "forward_graphs", "backward_graphs", "ops", "unique_ops")

    level: Level = Level.aot

    def expand(self, cell: Cell) -> Iterable[Cell]:
        """The cell itself; one without a backend makes no graphs."""
        return backed(cell, "experiment=graphs shows what a backend makes")

    def attempts(self, cell: Cell) -> Generator[Attempt, Outcome, Row]:
        """One child with caches of its own: a graph that comes out of a cache is not shown."""
        with fresh_caches() as caches:
            outcome = yield Attempt(cell, {"caches": caches})
        return outcome.row

    def run(self, workload: Workload, context: Context) -> Iterable[Row]:
        """One step of the backend."""
        from runner.compiling.trace_log import records

        assert context.backend is not None
        with context.phase(Phase.COMPILE), records() as said:
            use_caches(context.options["caches"])
            workload.step(context.backend.prepare(workload))
        files = graph_files(said, self.level)
        if not files:
            raise Unsupported(_nothing(self.level, [level for level in Level if graph_files(said, level)]))
        for file in files:
            context.artifact(file.name).write_text(file.text, encoding="utf-8")
        yield {"level": self.level.value, **self._written(files, context)}

    def _written(self, files: Sequence[GraphFile], context: Context) -> Row:
        counts: Counter[str] = Counter()
        for file in files:
            try:
                found = operators(file.text, self.level)
            except SyntaxError:  # what a graph has for a constant need not be Python; its file is there all the same
                context.note_flags("graph_not_counted")
                continue
            counts += found
            key = {"file": file.name, "direction": file.direction}
            context.table("operators", [{**key, "operator": name, "count": n} for name, n in found.most_common()])
        directions = Counter(file.direction for file in files)
        return {
            "graphs": len(files),
            "forward_graphs": directions["forward"],
            "backward_graphs": directions["backward"],
            "ops": counts.total(),
            "unique_ops": len(counts),
            "folder": str(context.artifacts.relative_to(context.artifacts.parent.parent)),
        }


def _nothing(level: Level, others: Sequence[Level]) -> str:
    if not others:
        return f"the backend has no graphs of level {level.value}, nor of another: nothing was compiled"
    words = ", ".join(other.value for other in others)
    return f"the backend has no graphs of level {level.value}: it has those of experiment.level={words}"
