"""The contract of an experiment: what it declares, what runs in the parent, what runs in the child.

An experiment is a dataclass in `experiments/` that derives from `Experiment`; its fields are its configuration
(`experiment.FIELD=...`). Nothing here, and nothing at the top of an experiment's module, imports torch: the parent
calls `expand` and `attempts`, only a child calls `run`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from runner.results.columns import Column, Phase, Row, Status

if TYPE_CHECKING:
    from runner.backends import Backend
    from runner.cells import Cell
    from runner.devices import Device
    from runner.measure.settings import Measure
    from runner.measure.tuning import Tuning
    from runner.workload import Workload


@dataclass(frozen=True)
class Attempt:
    """One child to run for a cell.

    `options` reach the child as `context.options`; `env` is added to the child's environment before torch starts.
    With `deferred` the run puts the attempt off until every other cell has had its turn, and keeps `pending` (the row
    so far) in pending.csv meanwhile.
    """

    cell: Cell
    options: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    deferred: bool = False
    pending: Row | None = None


@dataclass(frozen=True)
class Outcome:
    """What came back from a child: how it ended, and the values it had yielded until then."""

    status: Status
    phase: Phase | None = None
    error_type: str = ""
    error: str = ""
    values: Row = field(default_factory=dict)
    seconds: float = 0.0  # wall time from request to the child's end
    phases: Mapping[str, float] = field(default_factory=dict)  # seconds spent in each phase

    @property
    def row(self) -> Row:
        """The values together with the outcome's own columns."""
        return {
            "status": self.status.value,
            "phase": self.phase.value if self.phase else "",
            "error_type": self.error_type,
            "error": self.error,
            **self.values,
        }


class Context(Protocol):
    """What an experiment's `run` is given besides the workload. Lives in the child."""

    cell: Cell
    backend: Backend | None
    device: Device
    measure: Measure
    tuning: Tuning  # threads and CPUs, as applied
    seed: int
    options: Mapping[str, Any]
    artifacts: Path  # folder of this cell for traces, models, scripts; made on first use by `artifact()`

    def phase(self, phase: Phase) -> AbstractContextManager[None]:
        """Say what is being done: limits, status and progress follow it."""
        ...

    def artifact(self, name: str) -> Path:
        """Path for a new file in the cell's artifacts folder."""
        ...

    def load(self, name: str) -> Workload:
        """Load another model of the same suite, in the same mode and precision."""
        ...

    def table(self, name: str, rows: Sequence[Row]) -> None:
        """Append rows to the long table `<name>.csv`, which the experiment declares in `tables`."""
        ...

    def samples(self, arrays: Mapping[str, Any]) -> None:
        """Keep raw samples as `samples/<cell_id>.npz`."""
        ...

    def note_flags(self, *flags: str) -> None:
        """Add words to the row's column `flags`."""
        ...

    def agree(self, value: float) -> float:
        """`value`, or in a cell that spans devices the largest of its ranks' values: for decisions by the clock."""
        ...

    def expect_call(self, seconds: float, more: int = 0) -> None:
        """One call of one side took `seconds` when first timed: the default of `limits.measure_s` grows with it.

        `more` such calls are to come at the least: a cell that can't end within its limit ends now.
        """
        ...


class Experiment:
    """Base of all experiments; the defaults suit one that measures one model in one child."""

    columns: tuple[Column, ...] = ()  # the class's; an instance may add those that its fields ask for
    tables: Mapping[str, tuple[Column, ...]] = MappingProxyType({})  # long tables; likewise
    summary: ClassVar[tuple[str, ...]] = ()  # columns that the summary at the end of a run shows; default: headline
    share_child: ClassVar[bool] = False  # True: cells run one after the other in one child, restarted after a crash
    needs_model: ClassVar[bool] = True  # False: `run` gets no workload (selftest, operators)
    one_process: ClassVar[bool] = False  # True: measure.processes above 1 is refused
    fresh_starts: bool = False  # True: what it measures needs processes of its own; isolation=none is refused
    names: ClassVar[tuple[str, ...]] = ()  # one cell for each of these names instead of the suite's models

    @classmethod
    def conclude(cls, rows: Sequence[Row], missing: int) -> Iterable[str]:  # noqa: ARG003 - for those who override it
        """Lines for the end of a summary: what all rows of the experiment come to; `missing` cells have none.

        Without torch, and without an instance: rows are also read after the run.
        """
        return ()

    def expand(self, cell: Cell) -> Iterable[Cell]:
        """Cells that `cell` stands for (tasks, operators); in the parent, without torch."""
        return (cell,)

    def gather(self, cells: Sequence[Cell], plain: Mapping[str, Any]) -> Iterable[Cell]:  # noqa: ARG002 - for overriding
        """The run's cells, from those that its models were expanded to; in the parent, without torch.

        For what is measured of several models together. `plain` is the whole composed configuration.
        """
        return cells

    def attempts(self, cell: Cell) -> Generator[Attempt, Outcome, Row]:
        """Children to run one after the other; returns the final row. In the parent."""
        outcome = yield Attempt(cell)
        return outcome.row

    def run(self, workload: Workload, context: Context) -> Iterable[Row]:
        """Measure, in the child.

        Rows are sent as they are yielded; a later one updates the earlier ones' values, so that what is known when a
        child dies is in the row. A row may set `status` itself (wrong_output, ...).
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it runs")
