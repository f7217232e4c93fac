"""Each backend from outside: a verdict in inference and training, or one sentence that says why there is none."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

CHECK = ("experiment=accuracy", "experiment.eager_repeats=1")
FAST = ("measure=quick", "measure.max_pairs=10", "measure.warmup_max_pairs=3", "measure.retry_unconverged=0")


@pytest.fixture(scope="module")
def inference(rows_of: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model with keyword arguments and a dataclass for an output."""
    backends = "backend=export,aot_inductor,torchscript,nativert,xla"
    return rows_of(tmp_path_factory.mktemp("inference"), "suite.class_name=Net", *CHECK, backends)


@pytest.fixture(scope="module")
def training(rows_of: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same, with dropout."""
    backends = "backend=export,torchscript,aot_inductor"
    return rows_of(tmp_path_factory.mktemp("training"), "suite.class_name=Net", *CHECK, "mode=training", backends)


@pytest.mark.parametrize("backend", ["export", "aot_inductor", "torchscript_trace"])
def test_outputs_keep_their_structure(inference: Any, backend: str) -> None:
    """What goes in by name and comes out in a dataclass is compared as that."""
    row = inference[backend]
    assert (row["status"], row["accuracy"]) == ("ok", "pass"), row["error"]


def test_what_is_missing_is_named(inference: Any) -> None:
    """A package with the command that installs it; a runtime that this torch is built without."""
    for backend, words in {"xla": "pip install torch_xla", "nativert": "built without NativeRT"}.items():
        row = inference[backend]
        assert row["accuracy"] == "pass" or (row["status"] == "unsupported" and words in row["error"]), row


@pytest.mark.parametrize("backend", ["export", "torchscript_trace"])
def test_training(training: Any, backend: str) -> None:
    """Gradients, running statistics and parameters after the steps are eager's, with dropout and without."""
    row = training[backend]
    assert (row["status"], row["accuracy"]) == ("ok", "pass"), row["error"]


def test_what_cannot_train_says_so(training: Any) -> None:
    """One sentence instead of a failure."""
    row = training["aot_inductor"]
    assert row["status"] == "unsupported"
    assert "without a backward pass: use mode=inference" in row["error"]


def test_what_cannot_be_captured(rows_of: Any, tmp_path: Path) -> None:
    """Control flow that depends on data is a failure to compile, in the exporter's words."""
    rows = rows_of(tmp_path, "suite.class_name=Branching", *CHECK, "backend=export,aot_inductor")
    for row in rows.values():
        assert (row["status"], row["phase"], row["accuracy"]) == ("compile_error", "compile", "fail_to_run")
        assert "data-dependent" in row["error"]
    assert set(rows) == {"export", "aot_inductor"}


def test_a_row_of_speedup(rows_of: Any, tmp_path: Path) -> None:
    """Parts of compiling are phases of compile_metrics.csv, and within compile_s."""
    rows = rows_of(tmp_path, "suite.class_name=Plain", *FAST, "backend=export,torchscript", "dynamic=batch")
    for backend, part in {"export": "export", "torchscript_trace": "trace"}.items():
        assert rows[backend]["accuracy"] == "pass", rows[backend]
        assert rows[backend]["dynamic"] == "batch"
        assert 0 < seconds(tmp_path, rows[backend])[part] <= rows[backend]["compile_s"]


def seconds(folder: Path, row: Any) -> dict[str, float]:
    """Phases of a row's compilation."""
    files = [path.open(newline="", encoding="utf-8") for path in folder.rglob("compile_metrics.csv")]
    found = [line for file in files for line in csv.DictReader(file)]
    for file in files:
        file.close()
    return {line["phase"]: float(line["seconds"]) for line in found if line["cell_id"] == row["cell_id"]}


@pytest.mark.slow
def test_a_package_is_made_in_three_parts(rows_of: Any, tmp_path: Path) -> None:
    """Export, compiling and loading of AOTInductor add up to its compile time."""
    words = ("suite.class_name=Plain", "backend=aot_inductor", "dynamic=batch", "backend.freezing=true")
    row = rows_of(tmp_path, *words, *FAST)["aot_inductor"]
    parts = [seconds(tmp_path, row)[name] for name in ("export", "compile", "load")]
    assert row["accuracy"] == "pass"
    assert 0.8 * row["compile_s"] < sum(parts) <= row["compile_s"]


@pytest.mark.slow
def test_ahead_of_time_compilation_trains(rows_of: Any, tmp_path: Path) -> None:
    """A program that was saved and loaded has a backward pass, and one more for other dropout rates."""
    words = ("suite.class_name=Net", *CHECK, "mode=training", "backend=aot_precompile")
    assert rows_of(tmp_path, *words)["aot_precompile"]["accuracy"] == "pass"


@pytest.mark.slow
def test_quantisation(rows_of: Any, tmp_path: Path) -> None:
    """Judged by cosine unless the user wants otherwise; the errors are in the row; a scheme may need a device."""
    pytest.importorskip("torchao")
    words = ("suite.class_name=Net", *CHECK, "backend=torchao", "backend.scheme=int8dynamic,int8weightonly,int4weightonly")
    rows = rows_of(tmp_path, *words, "device=cpu")
    for scheme in ("int8dynamic", "int8weightonly"):
        row = rows[f"torchao_{scheme}"]
        assert (row["accuracy"], row["policy"]) == ("pass", '{"cosine": true}')
        assert 0.99 < row["cosine"] < 1
        assert row["max_abs_err"] > 1e-4
    assert "use another device" in rows["torchao_int4weightonly"]["error"]


def test_activation_checkpointing_is_for_training(rows_of: Any, tmp_path: Path) -> None:
    """The policy is refused where there is no backward pass."""
    words = ("suite.class_name=Plain", "backend=eager", "policy.activation_checkpointing=true")
    row = rows_of(tmp_path, *words, *CHECK)["eager"]
    assert row["status"] == "unsupported"
    assert "use mode=training" in row["error"]
