"""Models that are hard to check or to time, through `experiment=speedup` as a user runs it: what each row says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.results.columns import Row
from runner.results.reader import Run, read_run

FEW = (
    *("measure.min_pairs=6", "measure.max_pairs=6", "measure.warmup_max_pairs=3", "measure.retry_unconverged=0"),
    *("measure.block=1", "measure.samples_file=false", "device=cpu", "isolation=none"),
)
#: The program, in which any step counts as one that takes long.
IMPATIENT = """
import experiments.speedup
from runner.__main__ import console

experiments.speedup.SLOW_STEP_S = 0.0
console()
"""
WORDS = ("suite=odd", "backend=dynamo", "backend.name=eager", *FEW)
#: Status, accuracy, the flags of the check, a part of the error.
EXPECTED = {
    "plain": ("ok", "pass", set(), ""),
    "nan": ("check_error", "reference_unusable", {"nan_in_eager"}, "NaN throughout"),
    "nan_in_places": ("ok", "pass", {"nan_in_eager"}, ""),
    "another_each_call": ("ok", "pass", {"eager_not_deterministic"}, ""),
    "scaled_when_compiled": ("wrong_output", "fail_accuracy", set(), "rmse"),
    "another_shape_when_compiled": ("wrong_output", "fail_accuracy", set(), "has shape [3, 8], eager [4, 8]"),
    "another_dtype_when_compiled": ("wrong_output", "fail_accuracy", set(), "has dtype torch.float64"),
    "another_kind_when_compiled": ("wrong_output", "fail_accuracy", set(), "has a sequence, eager a tensor"),
    "dataclass": ("ok", "pass", set(), ""),
    "dict": ("ok", "pass", set(), ""),
    "nested": ("ok", "pass", set(), ""),
    "no_tensor": ("ok", "pass", set(), ""),
    "sparse": ("ok", "pass", set(), ""),
    "view_of_the_input": ("ok", "pass", set(), ""),
    "in_place": ("ok", "pass", {"mutates_inputs"}, ""),
    "slower_each_call": ("ok", "pass", set(), ""),
    "tiny": ("ok", "pass", set(), ""),
}
#: What the check says about a model; the other flags are about the machine, which is nobody's here.
CHECKED = {"nan_in_eager", "eager_not_deterministic", "mutates_inputs", "inputs_not_varied", "model_not_copyable"}


@pytest.fixture(scope="module")
def odd(start: Any, toys: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All of them in one run."""
    folder = tmp_path_factory.mktemp("odd")
    done = start(folder, *toys, *WORDS, "hydra.run.dir=out", timeout=600)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return read_run(folder / "out").runs[0]


def row_of(run: Run, name: str) -> Row:
    """The one row of a model."""
    (row,) = (row for row in run.rows if row["name"] == name)
    return row


@pytest.mark.parametrize("name", EXPECTED)
def test_what_the_row_says(odd: Run, name: str) -> None:
    """Status, upstream's word, flags and error; timed it was in any case, and as often as the others."""
    status, accuracy, flags, words = EXPECTED[name]
    row = row_of(odd, name)
    assert (row["status"], row["accuracy"]) == (status, accuracy), row["error"]
    assert CHECKED & set((row["flags"] or "").split(";")) == flags
    assert words in (row["error"] or "")
    assert (row["n_pairs"], row["speedup"] > 0) == (6, True)


def test_all_have_a_row(odd: Run) -> None:
    """The suite is the table above."""
    assert [row["name"] for row in odd.rows] == list(EXPECTED)
    assert (odd.missing, odd.dropped) == ((), 0)


def test_the_size_of_the_error_is_in_the_row(odd: Run) -> None:
    """A factor of 1.05: nearly five per cent of the largest value, and in column max_rel_err of 1 + that."""
    row = row_of(odd, "scaled_when_compiled")
    assert 0.02 < row["max_rel_err"] < 0.05 < row["max_abs_err"] / row["max_rel_err"]
    assert row["worst_tensor"].endswith("output")


def test_wrong_models_are_in_no_mean(cli: Any, toys: tuple[str, str], tmp_path: Path) -> None:
    """The backend that scales outputs: no model is right, and there is nothing to average."""
    done = cli(*toys, "suite=odd", "model=dict", "backend=scaled", *FEW, "hydra.run.dir=out")
    (row,) = read_run(tmp_path / "out").rows
    assert (done.returncode, row["status"], row["accuracy"]) == (1, "wrong_output", "fail_accuracy"), done.stderr
    assert "1 wrong" in done.stdout
    assert "geometric mean" not in done.stdout


def test_an_optimizer_that_does_nothing(cli: Any, toys: tuple[str, str], tmp_path: Path) -> None:
    """The step is right in what it does, and the row says that it trains nothing."""
    words = ("suite=odd", "model=plain", "backend=eager", "mode=training", "optimizer.lr=0")
    done = cli(*toys, *words, *FEW, "hydra.run.dir=out")
    (row,) = read_run(tmp_path / "out").rows
    assert (done.returncode, row["status"], row["accuracy"]) == (0, "ok", "pass"), done.stderr
    assert "parameters_unchanged" in row["flags"].split(";")


def test_a_call_of_microseconds(cli: Any, toys: tuple[str, str], tmp_path: Path) -> None:
    """One addition is too short for the clock: many calls are timed together."""
    few = [word for word in FEW if word != "measure.block=1"]
    done = cli(*toys, "suite=odd", "model=tiny", "backend=eager", *few, "hydra.run.dir=out")
    (row,) = read_run(tmp_path / "out").rows
    assert (done.returncode, row["status"], row["accuracy"]) == (0, "ok", "pass"), done.stderr
    assert min(row["block_a"], row["block_b"]) > 1


def test_a_call_of_many_seconds(start: Any, toys: tuple[str, str], tmp_path: Path) -> None:
    """The check of a slow model compares one step of one eager run, and the row says so."""
    words = (*toys, "suite=odd", "model=plain", "backend=eager", *FEW, "hydra.run.dir=out")
    command = [sys.executable, "-c", IMPATIENT, *words]
    done = subprocess.run(command, cwd=tmp_path, env=start.environment(), capture_output=True, text=True, timeout=300)
    (row,) = read_run(tmp_path / "out").rows
    assert (done.returncode, row["status"], row["accuracy"]) == (0, "ok", "pass"), done.stderr
    assert "short_check" in row["flags"].split(";")
