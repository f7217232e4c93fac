"""The operator experiment and the recording of its logs, started as users start them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.results.reader import read_rows, read_run

#: Five operators, one of them with a gradient, one that writes to its input, one with a line that can't be read.
LOG = """Operator: aten.add.Tensor
cnt: 3, ((T([8, 8], f32), T([8, 8], f32)), {})  # {'grad': [0, 1]}
cnt: 9, ((T([4], f32), 1.5), {})
Operator: aten.mm.default
cnt: 1, ((T([8, 8], f32), T([8, 8], f32, stride=(1, 8))), {})
Operator: aten.embedding.default
cnt: 2, ((T([10, 4], f32), T([3], i64)), {})
Operator: aten.relu_.default
cnt: 1, ((T([16], f32),), {})
Operator: aten.tanh.default
cnt: 1, ((T([16], f32),), {})
cnt: 1, ((T([16], f32), {})
Operator: aten.sigmoid.default
cnt: 1, ((T([16], f32),), {})
"""
QUICK = (
    *("experiment=operator", "measure.threads=1", "measure.max_pairs=10", "measure.warmup_max_pairs=2"),
    *("measure.max_time_s=0.2", "hydra.run.dir=out", "experiment.input_file=ops.txt"),
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log in the folder where the runner is started."""
    path = tmp_path / "ops.txt"
    path.write_text(LOG)
    return path


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Rows by operator."""
    return {row["name"]: row for row in read_run(folder / "out").rows}


def samples(folder: Path) -> list[dict[str, str]]:
    """Rows of the long table."""
    return list(read_rows(folder / "out" / "operator_samples.csv"))


@pytest.mark.usefixtures("log")
def test_eager_against_itself_and_planted_faults(cli: Any, tmp_path: Path, toys: tuple[str, str]) -> None:
    """Every operator has its row, and a fault costs the row that it belongs to: wrong, raising, dying, unreadable."""
    faults = ("backend.wrong=aten.mm.default", "backend.raises=aten.relu_.default", "backend.dies=aten.embedding.default")
    done = cli(*toys, *QUICK, "backend=planted", *faults)
    assert done.returncode == 1, done.stderr
    found = rows(tmp_path)
    assert {name: row["status"] for name, row in found.items()} == {
        "aten.add.Tensor": "ok",
        "aten.embedding.default": "crashed",
        "aten.mm.default": "wrong_output",
        "aten.relu_.default": "compile_error",
        "aten.sigmoid.default": "ok",
        "aten.tanh.default": "load_error",
    }
    add, tanh, mm = (found[f"aten.{name}"] for name in ("add.Tensor", "tanh.default", "mm.default"))
    assert (add["recorded"], add["selected"], add["samples"], add["failures"], add["share_pct"]) == (2, 2, 3, 0, 100)
    assert add["speedup_p20"] <= add["speedup"] <= add["speedup_p80"]
    assert add["accuracy"] == "pass"
    assert add["backward_p50"] > 0
    assert (tanh["samples"], tanh["failures"], tanh["share_pct"]) == (1, 1, 50)
    assert tanh["error"].endswith("ops.txt:12:28: ',' or ')' expected, found the end of the line")
    assert (mm["accuracy"], mm["samples"], mm["speedup"]) == ("fail_accuracy", 0, None)
    assert mm["max_abs_err"] > 0.01
    assert "input sets: " in done.stdout
    assert "wrong: aten.mm.default" in done.stdout
    assert "1 input sets of operators that ended as crashed" in done.stdout
    lines = [row for row in samples(tmp_path) if row["name"] == "aten.add.Tensor"]
    assert [(row["count"], row["direction"]) for row in lines] == [("9", "forward"), ("3", "forward"), ("3", "backward")]
    assert lines[1]["inputs"] == "((T([8, 8], f32), T([8, 8], f32)), {})"
    assert all(float(row["eager_ms"]) > 0 and float(row["backend_gb_s"]) > 0 for row in lines)


@pytest.mark.usefixtures("log")
@pytest.mark.slow
def test_inductor(cli: Any, tmp_path: Path) -> None:
    """The default backend compiles, agrees and is timed, forward, backward and in place; the command runs one row."""
    done = cli(*QUICK, "precision=bf16")
    assert done.returncode == 1, done.stderr
    found = rows(tmp_path)
    bad = found.pop("aten.tanh.default")
    assert (bad["status"], bad["samples"]) == ("load_error", 1)
    assert {(row["status"], row["accuracy"]) for row in found.values()} == {("ok", "pass")}
    assert {row["direction"] for row in samples(tmp_path)} == {"forward", "backward"}
    command = found["aten.add.Tensor"]["command"]
    assert "model=all experiment.op=aten.add.Tensor" in command
    assert f"{tmp_path}/ops.txt" in command


def test_an_operator_that_hangs(cli: Any, tmp_path: Path, toys: tuple[str, str]) -> None:
    """It is ended when its time is over, and those after it run in a new child."""
    lines = [f"Operator: aten.{name}.default\ncnt: 1, ((T([16], f32),), {{}})" for name in ("exp", "sin", "tanh")]
    (tmp_path / "ops.txt").write_text("\n".join(lines))
    done = cli(*toys, *QUICK, "backend=planted", "backend.hangs=aten.sin.default", "limits.compile_s=5")
    assert done.returncode == 1, done.stderr
    statuses = {name: (row["status"], row["phase"]) for name, row in rows(tmp_path).items()}
    ok = ("ok", "")
    assert statuses == {"aten.exp.default": ok, "aten.sin.default": ("timeout", "compile"), "aten.tanh.default": ok}
    assert "1 input sets of operators that ended as timeout" in done.stdout


@pytest.mark.slow
def test_a_wrong_decomposition(cli: Any, tmp_path: Path, toys: tuple[str, str]) -> None:
    """What inductor computes by a wrong rule is a wrong output, and the other operators are right."""
    lines = [f"Operator: aten.{name}.default\ncnt: 1, ((T([64], f32),), {{}})" for name in ("relu", "silu")]
    (tmp_path / "ops.txt").write_text("\n".join(lines))
    done = cli(*toys, *QUICK, "backend=wrong_decomposition")
    assert done.returncode == 1, done.stderr
    found = rows(tmp_path)
    assert {name: row["status"] for name, row in found.items()} == {
        "aten.relu.default": "ok",
        "aten.silu.default": "wrong_output",
    }
    silu = found["aten.silu.default"]
    assert (silu["accuracy"], silu["reference"], silu["speedup"]) == ("fail_accuracy", "fp64", None)


def test_further_baselines(cli: Any, tmp_path: Path, toys: tuple[str, str]) -> None:
    """Each has columns of its own in both files; one that is wrong costs these and nothing else."""
    text = "Operator: aten.mm.default\ncnt: 1, ((T([8, 8], f32), T([8, 8], f32)), {})  # {'grad': [0]}\n"
    text += "Operator: aten.bitwise_not.default\ncnt: 2, ((T([8, 8], i64),), {})\n"
    (tmp_path / "ops.txt").write_text(text)
    given = "experiment.against=[eager,torchscript,toy_backend,scaled]"
    done = cli(*toys, *QUICK, "backend=eager", given)
    assert done.returncode == 0, done.stdout + done.stderr
    for row in rows(tmp_path).values():
        assert (row["status"], row["failures"]) == ("ok", 0)
        for name in ("torchscript", "toy_backend"):
            assert row[f"{name}_latency"] > 0
            assert row[f"speedup_vs_{name}_p20"] <= row[f"speedup_vs_{name}"] <= row[f"speedup_vs_{name}_p80"]
        assert "experiment.against=[eager,torchscript,toy_backend,scaled]" in row["command"].replace(" ", "")
    found = samples(tmp_path)
    assert [row["direction"] for row in found] == ["forward", "forward", "backward"]
    assert all(float(row["speedup_vs_torchscript"]) > 0 for row in found)
    whole, *floating = found  # whole numbers, which the toy scales not, then a product and its backward
    assert all((row["speedup_vs_scaled"], "scaled_wrong" in row["flags"]) == ("", True) for row in floating)
    assert float(whole["speedup_vs_scaled"]) > 0
    assert (float(whole["eager_gb_s"]) > 0, float(whole["backend_roofline"]) > 0, whole["flop"]) == (True, True, "")
    assert [row["flop"] for row in floating] == ["1024", ""]


@pytest.mark.usefixtures("log")
def test_double_precision(cli: Any, tmp_path: Path) -> None:
    """Outputs in fp64 are judged by their size like any others."""
    done = cli(*QUICK, "experiment.op=aten.mm.default", "backend=eager", "precision=fp64", "isolation=none")
    assert done.returncode == 0, done.stdout + done.stderr
    row = rows(tmp_path)["aten.mm.default"]
    assert (row["status"], row["accuracy"], row["samples"]) == ("ok", "pass", 1)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["batch_size=4"], "experiment=operator takes no batch_size"),
        (["precision=amp_bf16"], "experiment=operator takes no precision=amp_bf16"),
        (["select.batch_size_file=/dev/null"], "experiment=operator takes no select.batch_size_file"),
        (["select.include=mlp"], "choose them by model="),
        (["select.fast=true"], "choose them by model=, not select.fast"),
        (["suite.policy_file=/dev/null"], "experiment=operator takes no suite.policy_file"),
        (["suite=huggingface", "suite.scale=small", "experiment.input_file=null"], "takes no suite.scale: the suite's log"),
        (["measure=rigorous"], "measure.processes=3: experiment=operator chooses its processes itself, add measure.processes=1"),
        (["policy.skip=no"], "experiment=operator takes no policy.skip"),
        (["experiment.max_samples=0"], "experiment.max_samples is 0: it must be at least 1"),
        (["experiment.against=[aot_eager]"], "give eager, then other backends"),
        (["experiment.against=[eager,nope]"], "No backend named 'nope'"),
        (["experiment.op=aten.ad.Tensor"], "Did you mean: aten.add.Tensor"),
        (["model=mlp"], "leave model=all"),
        (["experiment.input_file=null"], "no operator log ships for suite demo"),
        (["experiment.input_file=nowhere.txt"], "nowhere.txt can't be read"),
    ],
)
@pytest.mark.usefixtures("log")
def test_bad_usage(cli: Any, words: list[str], error: str) -> None:
    """One sentence, exit code 2, nothing started."""
    done = cli(*QUICK, "plan=true", *words)
    assert (done.returncode, done.stderr.count("Traceback")) == (2, 0), done.stderr
    assert error in done.stderr


def test_nothing_to_measure(cli: Any, tmp_path: Path) -> None:
    """An operator without an input set, or with none left, is unsupported, and the row says why."""
    (tmp_path / "ops.txt").write_text(f"{LOG}Operator: aten.exp.default\n")
    done = cli(*QUICK, "backend=eager", "experiment.start_idx=2", 'experiment.op="aten.[et]*"')
    assert "Traceback" not in done.stderr, done.stderr
    said = {name: (row["status"], row["recorded"], row["error"]) for name, row in rows(tmp_path).items()}
    few = "experiment.start_idx=2 leaves no input set of aten.{}.default: the log has {}, give a smaller number"
    none = "the log names aten.exp.default and has no input set of it: record some with experiment=record_operators"
    assert said == {
        "aten.embedding.default": ("unsupported", 1, few.format("embedding", 1)),
        "aten.exp.default": ("unsupported", 0, none),
        "aten.tanh.default": ("unsupported", 2, few.format("tanh", 2)),
    }


def test_a_file_that_is_no_log(cli: Any, tmp_path: Path) -> None:
    """It is refused with its line before anything runs."""
    (tmp_path / "ops.txt").write_text("Operator: aten.add.Tensor\nimport os\n")
    done = cli(*QUICK)
    assert done.returncode == 2
    assert "ops.txt:2:1: 'Operator: NAME' or 'cnt: N, (ARGS, KWARGS)' expected, found 'import os'" in done.stderr


def test_what_is_recorded_can_be_measured(cli: Any, tmp_path: Path) -> None:
    """A model's log names its operators, counts and gradients; the operator experiment reads it."""
    done = cli("experiment=record_operators", "model=mlp", "mode=training", "hydra.run.dir=rec", "device=cpu")
    assert done.returncode == 0, done.stderr
    (row,) = read_run(tmp_path / "rec").rows
    assert row["recorded_with"] == "fake tensors"
    text = (tmp_path / "rec" / row["operator_log"]).read_text()
    assert text.count("Operator: ") == row["operators"] > 3
    assert text.count("cnt: ") == row["input_sets"]
    assert "Operator: aten.addmm.default" in text
    assert "'grad': [" in text
    (tmp_path / "ops.txt").write_text(text)
    done = cli(*QUICK, "experiment.op=aten.addmm", "plan=true")
    assert done.returncode == 0, done.stderr
    assert "aten.addmm.default" in done.stdout
