"""Does the model export to ONNX, is it right there, and is it faster? Failures are kept with their words."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from runner import processes
from runner.cells import Cell
from runner.errors import UsageError
from runner.experiment import Attempt, Context, Experiment, Outcome
from runner.onnx_export import buckets, pass_rates
from runner.onnx_export.facts import NODE_COLUMNS, facts_of
from runner.onnx_export.failure import COLUMNS, Finding, OnnxError, Step, missing_operators
from runner.results.columns import Column, Phase, Row, Status
from runner.timing import MEASURED, Timer, breakeven, step_peak_bytes, wall_s

if TYPE_CHECKING:
    from runner.backends.onnxruntime import Onnxruntime
    from runner.onnx_export.exporters import Exported
    from runner.onnx_export.session import Session
    from runner.verdict import Verdict
    from runner.workload import Workload

#: A model whose first eager step takes longer is checked with one step of one eager run.
SLOW_STEP_S = 10.0
BACKEND = "runner.backends.onnxruntime.Onnxruntime"
ERRORS, NODES = "onnx_export_errors", "onnx_nodes"

OWN = (
    Column("exporter", str, "", "torchscript, dynamo, dynamo_inline or dynamo_optimize"),
    Column("exported", bool, "", "is there a file?"),
    Column("ran", bool, "", "did ONNX Runtime take it and run it once?"),
    Column("correct", bool, "", "did the outputs agree with eager's?"),
    Column("step", str, "", "where it failed: export, session, run, compare; empty when it did not"),
    Column("export_s", float, "s", "exporting, with writing the file"),
    Column("session_s", float, "s", "making the session, which optimises the graph"),
    Column("first_run_s", float, "s", "the session's first run"),
    Column("model_bytes", int, "B", "the file with its external data"),
    Column("opset", int, "", "version of the standard domain's operators"),
    Column("nodes", int, "", "nodes of the graph; by operator in onnx_nodes.csv"),
    Column("node_types", int, "", "different operators among them"),
    Column("nonstandard_ops", str, "", "operators outside of the standard domain, separated by ;"),
    Column("unused_inputs", str, "", "inputs that the exporter left out, separated by ;"),
    Column("providers", str, "", "execution providers in use, separated by ;"),
    Column("onnxruntime", str, "", "version of ONNX Runtime"),
    Column("tolerance", float, "", "absolute and relative tolerance of the comparison"),
    Column("onnx_reference", str, "", "onnx.reference against eager: pass, fail, fail_to_run, timeout, too_large"),
    Column("onnx_reference_max_abs_err", float, "", "largest absolute difference between onnx.reference and eager"),
    Column("eager_peak_mem", float, "GB", "peak memory of an eager step, weights included (1e9 bytes)"),
    Column("onnx_peak_mem", float, "GB", "the same of the session; on an accelerator what it holds after its runs"),
    Column("breakeven_iters", int, "", "runs until export, session and first run have paid for themselves"),
)


@dataclass
class Onnx(Experiment):
    """Export, session, first run, outputs, memory, then the session and eager in pairs."""

    columns = (*MEASURED, *OWN)
    tables = {ERRORS: COLUMNS, NODES: NODE_COLUMNS}
    summary = ("exported", "ran", "correct", "speedup", "abs_latency", "export_s", "breakeven_iters")

    keep_model: bool = False  # the file and its test_data_set_0 in the artifacts
    reference_s: float = 10.0  # what onnx.reference may take on a small model; 0: it isn't asked

    @classmethod
    def conclude(cls, rows: Sequence[Row], missing: int) -> Iterable[str]:  # noqa: ARG003 - they have no exporter
        """The exporters side by side, and the errors in buckets."""
        yield from pass_rates.table(rows)
        yield from buckets.lines([row for row in pass_rates.tried(rows) if row["status"] != Status.OK])

    def expand(self, cell: Cell) -> Iterable[Cell]:
        """The cell itself; it takes one backend."""
        if cell.config.get("backend", {}).get("_target_") != BACKEND:
            given = cell.config["choices"].get("backend")
            raise UsageError(f"backend={given}: experiment=onnx is about backend=onnxruntime; leave it out")
        return (cell,)

    def attempts(self, cell: Cell) -> Generator[Attempt, Outcome, Row]:
        """`measure.processes` children, one more at the end of the run if the interval stayed too wide."""
        exporter = cell.config["backend"]["exporter"]
        with TemporaryDirectory(prefix="runner-onnx-") as folder:
            outcomes = yield from processes.repeat(cell, {"folder": folder})
            row = outcomes[-1].row
            if outcomes[-1].status is Status.OK:
                row = processes.combined([outcome.row for outcome in outcomes], cell.config["measure"])
                again = {"folder": folder, "process": 1}
                row = yield from processes.retry(cell, row, again, lambda row: _final(row, exporter))
            return _final(row, exporter)

    def run(self, workload: Workload, context: Context) -> Iterable[Row]:
        """All of it in the first child; a later one exports again and times."""
        cell = _Cell(self, workload, context)
        try:
            yield from cell.first() if context.options["process"] == 0 else cell.later()
        except OnnxError as error:
            cell.report(error)
            yield {"step": error.step.value, **_outcome(error)}


@dataclass
class _Cell:
    """One cell in its child: what the steps have in common."""

    experiment: Onnx
    workload: Workload
    context: Context

    def __post_init__(self) -> None:
        backend: Any = self.context.backend
        self.backend: Onnxruntime = backend
        self.folder = Path(self.context.options["folder"])

    def first(self) -> Iterator[Row]:
        """Everything."""
        from runner.state import Inputs

        with self.context.phase(Phase.EAGER):
            inputs = Inputs(self.workload)
            eager_s = wall_s(partial(self.workload.step, self.workload.model), self.context)
            self.context.expect_call(eager_s)
            reset = inputs.undo()
        with self.context.phase(Phase.COMPILE):
            self.backend.check(self.workload)
            exported = yield from self._export()
            free = self.context.device.free_memory_bytes()
            session = yield from self._open(exported)
        if reset:
            reset()
        verdict = yield from self._check(session, eager_s)
        if self.experiment.reference_s or self.experiment.keep_model:
            yield from self._reference(exported, session, verdict)
        if verdict.ok:
            yield from self._memory(session, free)
            yield from self._time(session, reset)

    def later(self) -> Iterator[Row]:
        """Times only."""
        from runner.state import inputs_to_reset

        with self.context.phase(Phase.EAGER):
            reset = inputs_to_reset(self.workload)
        with self.context.phase(Phase.COMPILE):
            exported = self.backend.export(self.workload, self.folder)
            session = self.backend.open(exported, self.workload)
            wall_s(partial(self.workload.step, session), self.context)
        yield from self._time(session, reset)

    def report(self, error: OnnxError) -> None:
        """Rows of onnx_export_errors.csv: the exception, and what else the exporter's report lists."""
        more = [f for path in self._reports().glob("onnx_export_*.md") for f in missing_operators(path.read_text())]
        self._table(error.step, [error.finding, *(f for f in more if f.message not in error.reason)])

    def _export(self) -> Generator[Row, None, Exported]:
        yield {"step": Step.EXPORT.value, "exported": False, "ran": False, "correct": False}
        folder = self.folder
        if self.experiment.keep_model:
            folder = self.context.artifact("model")
            folder.mkdir(exist_ok=True)
        exported = self.backend.export(self.workload, folder, self._reports())
        self._table(Step.EXPORT, exported.findings)
        facts = facts_of(exported.path)
        self.context.table(NODES, [{"exporter": self.backend.exporter.value, **row} for row in facts.rows()])
        yield {"exported": True, "export_s": exported.seconds, **facts.row()}
        return exported

    def _open(self, exported: Exported) -> Generator[Row, None, Session]:
        yield {"step": Step.SESSION.value}
        session = self.backend.open(exported, self.workload)
        names = {"providers": ";".join(session.providers), "unused_inputs": ";".join(session.unused)}
        yield {"step": Step.RUN.value, "session_s": session.seconds, "onnxruntime": session.version, **names}
        seconds = wall_s(partial(self.workload.step, session), self.context)
        self.context.expect_call(wall_s(partial(self.workload.step, session), self.context))
        yield {"step": Step.COMPARE.value, "first_run_s": seconds, "ran": True}
        return session

    def _check(self, session: Session, eager_s: float) -> Generator[Row, None, Verdict]:
        from runner.check import CheckSettings, check

        context, times = self.context, 1 if eager_s > SLOW_STEP_S else 2
        with context.phase(Phase.CHECK):
            free = context.device.free_memory_bytes()
            settings = CheckSettings(seed=context.seed, iterations=times, eager_runs=times, free_bytes=free)
            verdict = check(self.workload, session, settings)
        context.note_flags(*verdict.flags, *(["short_check"] if times == 1 else []))
        yield {**verdict.row(), "correct": verdict.ok, "tolerance": verdict.tolerance}
        if verdict.ok:
            yield {"step": None}
        else:
            worst = verdict.comparison.worst_tensor or verdict.accuracy
            self._table(Step.COMPARE, [Finding("compare", worst, "error", verdict.error_type, verdict.reason)])
        return verdict

    def _reference(self, exported: Exported, session: Session, verdict: Verdict) -> Iterator[Row]:
        from runner.onnx_export import test_data
        from runner.onnx_export.against_reference import against_reference
        from runner.onnx_export.flat import tensors_in

        outputs, limit_s = tensors_in(exported.flat.output), self.experiment.reference_s
        with self.context.phase(Phase.CHECK):
            test_data.write(exported.path, session.named_inputs(self.workload), session.named_outputs(outputs))
            if limit_s:
                word, error = against_reference(exported.path, outputs, verdict.tolerance or 0.0, limit_s)
                yield {"onnx_reference": word, "onnx_reference_max_abs_err": error}

    def _memory(self, session: Session, free: int | None) -> Iterator[Row]:
        """Of the session on an accelerator: by how much its free memory shrank, for torch's counter doesn't see it."""
        device = self.context.device
        with self.context.phase(Phase.MEMORY):
            yield {"eager_peak_mem": step_peak_bytes(self.workload, self.workload.model, self.context) / 1e9}
            if device.peak_memory_bytes() is None:
                session.give_back_memory(self.workload)
                yield {"onnx_peak_mem": step_peak_bytes(self.workload, session, self.context) / 1e9}
                return
            device.empty_cache()
            left = device.free_memory_bytes()
            if free is not None and left is not None:
                yield {"onnx_peak_mem": max(0, free - left) / 1e9}

    def _time(self, session: Session, reset: Callable[[], None] | None) -> Iterator[Row]:
        from runner.measure.engine import Side

        workload, context, process = self.workload, self.context, self.context.options["process"]
        with context.phase(Phase.WARMUP):
            timer = Timer(context)
        with context.phase(Phase.MEASURE):
            eager, exported = (Side(partial(workload.step, f), reset) for f in (workload.model, session))
            measured = timer.compare(eager, exported)
            context.note_flags(*measured.flags)
            if context.measure.samples_file:
                context.samples({f"{key}_{process}": a for key, a in measured.samples().items()})
            yield {**measured.row(), **timer.process_row(), "process": process}

    def _table(self, step: Step, findings: Sequence[Finding]) -> None:
        place: Row = {
            "device": self.context.device.type,
            "model_name": self.workload.name,
            "batch_size": self.workload.batch_size,
            "phase": (Phase.CHECK if step is Step.COMPARE else Phase.COMPILE).value,
            "step": step.value,
            "exporter": self.backend.exporter.value,
        }
        if findings:
            self.context.table(ERRORS, [{**place, **finding.row()} for finding in findings])

    def _reports(self) -> Path:
        return self.context.artifact("exporter")


def _outcome(error: OnnxError) -> Row:
    """The outcome's columns: whatever the exporter or ONNX Runtime raises is about compiling."""
    status, phase = Status.COMPILE_ERROR.value, Phase.COMPILE.value
    return {"status": status, "phase": phase, "error_type": error.kind, "error": f"{error.step.value}: {error.reason}"}


def _final(row: Row, exporter: str) -> Row:
    """The row with what follows from other columns."""
    return {**row, "exporter": exporter, "breakeven_iters": breakeven(row, _spent_s(row))}


def _spent_s(row: Row) -> float:
    """Seconds that it took to get to a session that has run."""
    return sum(row.get(name) or 0.0 for name in ("export_s", "session_s", "first_run_s"))
