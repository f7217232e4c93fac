"""Experiment `onnx`: what its rows say of models that export and run, and of those that don't."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.onnx import Onnx
from runner.backends.onnxruntime import Onnxruntime
from runner.devices.cpu import Cpu
from runner.onnx_export.choices import Exporter
from runner.results.columns import COMMON, Phase, Row
from runner.results.reader import read_rows, read_run
from runner.workload import Workload

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
UPSTREAM = (
    *("device", "model_name", "batch_size", "rule_id", "rule_name", "diagnostic_level", "diagnostic_message"),
    *("exception_type_name", "exception_message"),
)
QUICK = (
    *("measure.min_pairs=6", "measure.max_pairs=6", "measure.warmup_max_pairs=1", "measure.retry_unconverged=0"),
    "measure.threads=1",
)


@torch.library.custom_op("planted::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    """An operator that no exporter knows."""
    return x * 2


@twice.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


class CustomOperator(torch.nn.Module):
    """Has an operator without a translation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.planted.twice(x) + 1


class UnsupportedDtype(torch.nn.Module):
    """Returns numbers of a kind that ONNX Runtime has no kernel for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(x[None, None].to(torch.bfloat16), torch.ones(1, 1, 2, 2, dtype=torch.bfloat16))


class DependsOnData(torch.nn.Module):
    """Decides by the values of its input, and returns a number that follows from them."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, float]:
        first = float(x[0].sum())
        return (x * 2, first) if first > 100 else (x * 3, first)


class Triple(torch.autograd.Function):
    """Whose translation for the tracer doubles."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x * 3

    @staticmethod
    def symbolic(g: Any, x: Any) -> Any:
        return g.op("Add", x, x)


class WrongTranslation(torch.nn.Module):
    """Exports as something else than what it computes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.onnx.is_in_onnx_export() and not torch.jit.is_tracing():
            return torch.onnx.ops.symbolic("Add", (x, x), dtype=x.dtype, shape=x.shape)
        return Triple.apply(x)


@dataclass
class NearbyContext:
    """As much of runner.experiment.Context as a cell that isn't timed asks for."""

    backend: Onnxruntime
    folder: Path
    seed: int = 0
    device: Cpu = field(default_factory=Cpu)
    flags: list[str] = field(default_factory=list)
    tables: dict[str, list[Row]] = field(default_factory=dict)

    @property
    def options(self) -> Mapping[str, Any]:
        """A first child."""
        return {"process": 0, "folder": str(self.folder)}

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Not of interest."""
        yield

    def artifact(self, name: str) -> Path:
        """In the test's folder."""
        (self.folder / "artifacts").mkdir(exist_ok=True)
        return self.folder / "artifacts" / name

    def agree(self, value: float) -> float:
        """There is one process."""
        return value

    def note_flags(self, *flags: str) -> None:
        """Kept."""
        self.flags += flags

    def expect_call(self, seconds: float, more: int = 0) -> None:
        """Not of interest."""

    def table(self, name: str, rows: list[Row]) -> None:
        """Kept."""
        self.tables.setdefault(name, []).extend(rows)


Done = tuple[Row, dict[str, list[Row]]]


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., Done]:
    """`export(module, exporter)` runs a cell of the experiment here; gives its row and its tables."""

    def run(module: torch.nn.Module, exporter: Exporter) -> Done:
        x = torch.arange(12.0).reshape(4, 3)
        workload = Workload(type(module).__name__, module.eval(), (x,), batch_size=4)
        context = NearbyContext(Onnxruntime(exporter), tmp_path)
        row: Row = {}
        for values in Onnx(reference_s=0).run(workload, context):  # type: ignore[arg-type]
            row |= values
        names = {column.name for column in (*COMMON, *Onnx.columns)}
        assert set(row) <= names, set(row) - names
        return row, context.tables

    return run


#: (module, exporter) -> status, step, rule, words of the error.
PLANTED = {
    (CustomOperator, Exporter.torchscript): ("compile_error", "export", "missing-operator", "planted::twice"),
    (CustomOperator, Exporter.dynamo): ("compile_error", "export", "missing-operator", "planted.twice"),
    (UnsupportedDtype, Exporter.torchscript): ("compile_error", "session", "session", "Conv"),
    (UnsupportedDtype, Exporter.dynamo_optimize): ("compile_error", "session", "session", "Conv"),
    (DependsOnData, Exporter.torchscript): ("wrong_output", "compare", "compare", "output[1]"),
    (DependsOnData, Exporter.dynamo): ("compile_error", "export", "capture", "data-dependent"),
    (WrongTranslation, Exporter.torchscript): ("wrong_output", "compare", "compare", "output"),
    (WrongTranslation, Exporter.dynamo_inline): ("wrong_output", "compare", "compare", "output"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("module", "exporter"), PLANTED, ids=lambda value: getattr(value, "__name__", value))
def test_a_planted_error(export: Callable[..., Done], module: type[torch.nn.Module], exporter: Exporter) -> None:
    """The status, the step and the words are those of the mistake; so is the line of onnx_export_errors.csv."""
    status, step, rule, words = PLANTED[module, exporter]
    row, tables = export(module(), exporter)
    found = next(line for line in tables["onnx_export_errors"] if line["diagnostic_level"] == "error")
    assert (row["status"], row["step"]) == (status, step), row
    assert (found["rule_id"], found["step"], found["exporter"]) == (rule, step, exporter.value)
    assert words in f"{row['error']} {row.get('worst_tensor')} {found['exception_message']}"
    assert [column.name for column in Onnx.tables["onnx_export_errors"]][: len(UPSTREAM)] == list(UPSTREAM)
    assert set(found) == {column.name for column in Onnx.tables["onnx_export_errors"]}
    assert (row["exported"], row["ran"], row["correct"]) == (step != "export", step == "compare", False)


@pytest.fixture(scope="module")
def sweep(start: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep over two exporters whose models are kept."""
    folder = tmp_path_factory.mktemp("onnx")
    words = ("--multirun", "experiment=onnx", "suite=demo", "model=mlp", "backend.exporter=torchscript,dynamo_optimize")
    done = start(folder, *words, *QUICK, "experiment.keep_model=true", "isolation=none", "hydra.sweep.dir=out")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "printed.txt").write_text(done.stdout)
    return folder


def test_what_a_row_says(sweep: Path) -> None:
    """Each step has its time, the file its facts, and both comparisons their verdict."""
    rows = {row["exporter"]: row for row in read_run(sweep / "out").rows}
    assert set(rows) == {"torchscript", "dynamo_optimize"}
    for row in rows.values():
        assert (row["status"], row["step"]) == ("ok", "")
        assert (row["exported"], row["ran"], row["correct"]) == (True, True, True)
        assert (row["accuracy"], row["onnx_reference"]) == ("pass", "pass")
        assert row["onnx_reference_max_abs_err"] < row["tolerance"]
        assert min(row[f"{name}_s"] for name in ("export", "session", "first_run")) > 0
        assert row["model_bytes"] > 1000
        assert row["opset"] >= 17
        assert (row["providers"], row["nonstandard_ops"]) == ("CPUExecutionProvider", "")
        assert row["speedup_lo"] <= row["speedup"] <= row["speedup_hi"]
        assert row["onnx_peak_mem"] > 0


def test_the_nodes_are_counted(sweep: Path) -> None:
    """The table of operators adds up to the row's counts."""
    run = read_run(sweep / "out")
    for part in run.runs:
        (row,) = part.rows
        counts = [line for line in read_rows(part.directory / "onnx_nodes.csv") if line["cell_id"] == row["cell_id"]]
        assert sum(int(line["nodes"]) for line in counts) == row["nodes"]
        assert len(counts) == row["node_types"]
        assert {line["domain"] for line in counts} == {"ai.onnx"}


def test_the_exporters_are_compared(sweep: Path) -> None:
    """The end of the summary is a line for each exporter."""
    lines = [line.split() for line in (sweep / "printed.txt").read_text().splitlines()]
    (head,) = [i for i, line in enumerate(lines) if line[:2] == ["exporter", "models"]]
    assert [line[0] for line in lines[head + 1 : head + 3]] == ["torchscript", "dynamo_optimize"]
    assert lines[head + 1].count("(100.0") == 3


def test_onnx_can_run_what_is_kept(sweep: Path) -> None:
    """Model and test_data_set_0 are what onnx's checker and reference expect, and the outputs are eager's."""
    import onnx
    import onnx.checker
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    models = sorted((sweep / "out").glob("*/artifacts/*/model/model.onnx"))
    assert len(models) == 2
    for path in models:
        onnx.checker.check_model(str(path), full_check=True)
        data = path.parent / "test_data_set_0"
        tensors = [onnx.load_tensor(str(file)) for file in sorted(data.glob("input_*.pb"))]
        (expected,) = [numpy_helper.to_array(onnx.load_tensor(str(file))) for file in data.glob("output_*.pb")]
        (found,) = ReferenceEvaluator(str(path)).run(None, {t.name: numpy_helper.to_array(t) for t in tensors})
        assert abs(found - expected).max() < 1e-4


def test_the_exporter_s_report_is_kept(sweep: Path) -> None:
    """The exporter that writes one has it in the artifacts."""
    assert len(list((sweep / "out").glob("*/artifacts/*/exporter/onnx_export_*_success.md"))) == 1


def test_another_backend_is_refused(cli: Any) -> None:
    """One sentence, exit code 2."""
    done = cli("experiment=onnx", "suite=demo", "backend=eager", "plan=true")
    assert done.returncode == 2
    assert "experiment=onnx is about backend=onnxruntime" in done.stderr
