"""Which operators does a model call, with what, and how often? Writes them as a log for `experiment=operator`."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.experiment import Context, Experiment
from runner.results.columns import Column, Phase, Row

if TYPE_CHECKING:
    from torch._subclasses import FakeTensorMode

    from runner.operators.recorder import Recorder
    from runner.workload import Workload

OWN = (
    Column("operators", int, "", "different operators that one step calls"),
    Column("input_sets", int, "", "different sets of inputs that they are called with"),
    Column("calls", int, "", "calls of operators in one step"),
    Column("recorded_with", str, "", "fake tensors, or real ones where the model can't run on fake ones"),
    Column("operator_log", str, "", "the log, relative to the folder that holds this file"),
)


@dataclass
class RecordOperators(Experiment):
    """One step of a model on fake tensors, which hold no data and cost next to nothing; on real ones if that fails."""

    columns = OWN
    summary = ("operators", "input_sets", "calls", "recorded_with", "operator_log")
    needs_model = False  # it is loaded under the recorder, on fake tensors

    def run(self, workload: Workload | None, context: Context) -> Iterable[Row]:  # noqa: ARG002 - there is none yet
        """Load and run the model, and keep the log among the artifacts."""
        recorder, row = self._first_that_works(context)
        mode = context.cell.config["mode"]["name"]
        path = context.artifact(f"{context.cell.name}_{mode}.txt")
        path.write_text(recorder.text(), encoding="utf-8")
        where = path.relative_to(path.parents[2]).as_posix()
        yield {**row, **recorder.totals(), "operator_log": where}

    def _first_that_works(self, context: Context) -> tuple[Recorder, Row]:
        for fake_model, fake_step in ((True, True), (False, True)):
            try:
                return self._record(context, fake_model, fake_step)
            except Exception:  # noqa: BLE001 - what a model does that fake tensors can't is no matter of ours
                traceback.print_exc(file=sys.stderr)
        return self._record(context, fake_model=False, fake_step=False)

    def _record(self, context: Context, fake_model: bool, fake_step: bool) -> tuple[Recorder, Row]:
        """One step. A model that is made of fake tensors has no weights; one that is not can still run on such."""
        from torch._subclasses import FakeTensorMode

        from runner.operators.recorder import Recorder

        recorder, mode = Recorder(), FakeTensorMode(allow_non_fake_inputs=True)
        with _on(recorder, mode if fake_model else None):
            workload = context.load(context.cell.name)
        with _on(recorder, mode if fake_step else None), context.phase(Phase.EAGER):
            recorder.recording = True
            workload.step(workload.model)
        word = "fake tensors" if fake_step else "real tensors"
        return recorder, {"batch_size": workload.batch_size, "source": workload.source, "recorded_with": word}


@contextmanager
def _on(recorder: Recorder, mode: FakeTensorMode | None) -> Iterator[None]:
    """The recorder active, over fake tensors or real ones."""
    from runner.operators.recorder import converting_by_replacement

    with ExitStack() as active:
        if mode is not None:
            active.enter_context(converting_by_replacement())
            active.enter_context(mode)
        active.enter_context(recorder)
        yield
