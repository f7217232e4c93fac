"""Where and why does dynamo break a model's graph, and why does it compile a frame again?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.cells import Cell
from runner.compiling.break_reasons import BREAKS
from runner.compiling.compilations import RECOMPILATIONS
from runner.compiling.stats import CAPTURE, Mark, backed, explanation
from runner.experiment import Context, Experiment
from runner.results.columns import Column, Phase, Row

if TYPE_CHECKING:
    from runner.workload import Workload

#: Lines of the table at the end of a run.
MOST_FREQUENT = 10

COLUMNS = (
    *CAPTURE,
    Column("places", int, "", "places in the code where a graph broke or a frame was given up; rows of breaks.csv"),
    Column("recompilations", int, "", "times that a frame was compiled again; each has a row in recompilations.csv"),
    Column("limit_hits", int, "", "times that dynamo refused to compile a frame once more"),
    Column("reasons", str, "", "JSON: each reason with the number of places that have it"),
    Column("calls_captured", int, "", "operators that dynamo captured into graphs"),
)


@dataclass
class GraphBreaks(Experiment):
    """Compiles the model, calls it some times, and keeps what dynamo says meanwhile."""

    columns = COLUMNS
    tables = {"breaks": BREAKS, "recompilations": RECOMPILATIONS}
    summary = ("graphs", "breaks", "fallbacks", "places", "recompilations", "calls_captured")

    calls: int = 3  # steps that are taken; what a model keeps between them can make guards fail
    explain: bool = False  # dynamo's summary line in the log, as upstream's --explain

    def __post_init__(self) -> None:
        if self.calls < 1:
            raise ValueError(f"experiment.calls={self.calls}: give a number above 0")

    @classmethod
    def conclude(cls, rows: Sequence[Row], missing: int) -> Iterable[str]:  # noqa: ARG003 - the base's signature
        """A table of the most frequent reasons over all models."""
        places, models = Counter[str](), Counter[str]()
        for row in rows:
            found = json.loads(row.get("reasons") or "{}")
            places.update(found)
            models.update(found.keys())
        if places:
            yield f"{'places':>6}  {'models':>6}  reason"
        for reason, count in places.most_common(MOST_FREQUENT):
            yield f"{count:6d}  {models[reason]:6d}  {reason}"
        if len(places) > MOST_FREQUENT:
            yield f"and {len(places) - MOST_FREQUENT} more reasons: see breaks.csv"

    def expand(self, cell: Cell) -> Iterable[Cell]:
        """The cell itself; one without a backend compiles nothing."""
        return backed(cell, "experiment=graph_breaks compiles models")

    def run(self, workload: Workload, context: Context) -> Iterable[Row]:
        """Eager once, then the backend."""
        from runner.compiling import break_reasons
        from runner.compiling.compilations import Compilations
        from runner.compiling.trace_log import records

        assert context.backend is not None
        with context.phase(Phase.EAGER):
            workload.step(workload.model)
        mark, compilations = Mark.now(), Compilations()
        with context.phase(Phase.COMPILE), records() as said:
            candidate = context.backend.prepare(workload)
            for _ in range(self.calls):
                workload.step(candidate)
        found = break_reasons.rows(break_reasons.breaks(said))
        again = compilations.again()
        context.table("breaks", found)
        context.table("recompilations", [each.row for each in again])
        statistics = mark.statistics_since()
        if self.explain:
            print(explanation(statistics))
        yield {
            **mark.capture_since(),
            "places": len(found),
            "recompilations": len([each for each in again if not each.limit_hit]),
            "limit_hits": len([each for each in again if each.limit_hit]),
            "reasons": json.dumps(Counter(row["reason"] for row in found)),
            "calls_captured": statistics["calls_captured"],
        }
