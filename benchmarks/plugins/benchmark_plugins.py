"""An experiment that does nothing in 200 cells, to see what a cell costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runner.experiment import Context, Experiment
from runner.results.columns import Column, Row
from runner.workload import Workload


@dataclass
class Noop(Experiment):
    """Nothing."""

    columns = (Column("nothing", int, "", "always 0"),)
    names = tuple(f"cell_{i:03d}" for i in range(200))
    needs_model = False

    def run(self, workload: Workload | None, context: Context) -> Iterable[Row]:  # noqa: ARG002
        """One row."""
        yield {"nothing": 0}
