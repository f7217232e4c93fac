"""Experiment accuracy: its kinds of check, repeats, saved outputs, defaults of suites and the pass rate."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from experiments import accuracy
from experiments.accuracy import Accuracy, Kind, pass_rate
from runner.batch_invariance import sizes
from runner.cells import Cell
from runner.errors import UsageError
from runner.experiment import Attempt, Outcome
from runner.loaders.demo import Demo
from runner.results.columns import Phase, Status
from runner.results.reader import read_rows, read_run
from runner.workload import Workload

SUITE = {"_target_": "runner.loaders.torchbench.Torchbench"}
CELL = Cell({"suite": SUITE, "experiment": {}, "mode": {"name": "training"}})


def pair(perform: Any, wrong: ModuleType, experiment: Accuracy, how: str = "right", **more: Any) -> Any:
    """One cell of the suite pair."""
    return perform(experiment, wrong.Pair(), "pair", wrong.Wrong(wrong.How[how]), **more)


def test_a_row_is_complete(perform: Any, wrong: ModuleType) -> None:
    """A pass carries its magnitudes, of the worst tensor too, and how it was found."""
    row = pair(perform, wrong, Accuracy(runs=3), mode="training").row
    assert (row["runs"], row["passes"], row["tensors_wrong"]) == (3, 3, 0)
    assert (row["eager_noise"], row["max_abs_err"], row["eval_mode"]) == (0.0, 0.0, False)
    assert row["rmse_backend"] == row["rmse_eager"] < row["rmse_allowed"]
    assert row["cosine"] == pytest.approx(1)
    assert "fallback_random" in row["determinism"]
    assert row["tolerance"] == 1e-4


def test_what_cannot_run_is_said_so(perform: Any, wrong: ModuleType) -> None:
    """The backend's own error, in the phase in which it was first called; no further run."""
    row = pair(perform, wrong, Accuracy(runs=3), "raises").row
    assert (row["accuracy"], row["phase"], row["error_type"]) == ("fail_to_run", "compile", "ValueError")
    assert "can't" in row["error"]
    assert row["runs"] == 1


class Flaky:
    """Right in those of its programs whose number is given."""

    def __init__(self, right: set[int]) -> None:
        self.right, self.made = right, 0

    def prepare(self, workload: Workload) -> Any:
        """Another program each time."""
        self.made += 1
        factor = 1 if self.made in self.right else 1.05
        return lambda *args: tuple(t * factor for t in workload.model(*args))


@pytest.mark.parametrize(("right", "word", "passes"), [({1, 4, 5}, "pass", 3), ({2, 3}, "fail_accuracy", 2)])
def test_the_majority_counts(perform: Any, wrong: ModuleType, right: set[int], word: str, passes: int) -> None:
    """Of five programs three decide; the failing ones are in tensors.csv with their number."""
    done = perform(Accuracy(runs=5), wrong.Pair(), "pair", Flaky(right))
    assert (done.row["accuracy"], done.row["passes"], done.row["runs"]) == (word, passes, 5)
    assert {row["run"] for row in done.context.tables} == {1, 2, 3, 4, 5} - right


def test_one_bit_is_seen_where_bits_are_asked_for(perform: Any, wrong: ModuleType) -> None:
    """A backend that is near enough in every run passes, unless its runs have to agree bit by bit."""
    assert pair(perform, wrong, Accuracy(), "one_bit").row["accuracy"] == "pass"
    done = pair(perform, wrong, Accuracy(check=Kind.bitwise, iterations=1), "one_bit")
    assert (done.row["accuracy"], done.row["status"]) == ("not_bitwise_equivalent", "wrong_output")
    assert done.row["worst_tensor"].startswith("step1.output")
    assert pair(perform, wrong, Accuracy(check=Kind.bitwise), mode="training").row["accuracy"] == "pass"


def test_outputs_are_saved_and_compared(perform: Any, wrong: ModuleType, tmp_path: Path) -> None:
    """What one run saved, another has to equal in every bit, whatever its backend; without a file there is an error."""
    options = {"save": str(tmp_path / "kept")}
    assert pair(perform, wrong, Accuracy(), options=options).row["accuracy"] == "pass"
    assert [path.name.split("-")[0] for path in (tmp_path / "kept").iterdir()] == ["pair"]
    compare = {"compare": str(tmp_path / "kept")}
    assert pair(perform, wrong, Accuracy(), options=compare).row["accuracy"] == "pass"
    done = pair(perform, wrong, Accuracy(), "one_bit", options=compare)
    assert done.row["accuracy"] == "not_bitwise_equivalent"
    with pytest.raises(FileNotFoundError, match=r"experiment\.save_outputs"):
        pair(perform, wrong, Accuracy(), mode="training", options=compare)


class Blending:
    """Adds to every sample something of the whole batch, but for batches of one."""

    def prepare(self, workload: Workload) -> Any:
        """The model with the mistake."""
        return lambda x: workload.model(x) + 1e-6 * (x.shape[0] > 1) * x.mean()


class Small:
    """Can't do fewer than four samples."""

    def prepare(self, workload: Workload) -> Any:
        """The model, limited."""
        def run(x: torch.Tensor) -> Any:
            assert len(x) > 3, "too small"
            return x + 1
        return run


def test_batch_invariance(perform: Any) -> None:
    """Each size is compared bit by bit with the first samples of the whole batch; the word says which size differs."""
    experiment = Accuracy(check=Kind.batch_invariant)
    found = perform(experiment, Demo(), "mlp", Blending(), batch_size=8)
    assert found.row["accuracy"] == "fail_batch_invariance_at_4"
    assert found.row["status"] == "wrong_output"
    assert found.context.tables
    found = perform(experiment, Demo(), "mlp", Small(), batch_size=8)
    assert (found.row["accuracy"], found.row["status"]) == ("fail_to_run_at_batch_2", "run_error")
    found = perform(experiment, Demo(), "mlp", Small(), batch_size=1)
    assert (found.row["accuracy"], found.row["status"]) == ("pass_due_to_skip", "skipped")
    assert list(sizes(12)) == [6, 3, 1]


def test_batch_invariance_is_about_inference() -> None:
    """With training it is refused before anything runs."""
    with pytest.raises(UsageError, match="mode=inference"):
        list(Accuracy(check=Kind.batch_invariant).expand(CELL))


def test_suites_have_defaults() -> None:
    """TorchBench is checked with four samples and in eval mode, unless the command or the policy says otherwise."""
    (cell,) = Accuracy().expand(CELL)
    assert cell.config["batch_size"] == 4
    assert accuracy.defaults_of(cell).eval_mode
    given = Cell({**CELL.config, "batch_size": 7})
    assert list(Accuracy().expand(given)) == [given]
    demo = Cell({**CELL.config, "suite": {"_target_": "runner.loaders.demo.Demo"}})
    assert list(Accuracy().expand(demo)) == [demo]


def test_eval_mode_is_the_models(perform: Any, wrong: ModuleType) -> None:
    """Training in eval mode has no dropout, and leaves running statistics alone; the row says so."""
    done = pair(perform, wrong, Accuracy(eval_mode=True), "buffer_not_updated", mode="training")
    assert (done.row["accuracy"], done.row["eval_mode"], done.context.flags) == ("pass", True, [])


@pytest.mark.parametrize("key", ["iterations", "eager_repeats", "runs"])
def test_counts_are_positive(key: str) -> None:
    """What can't be done is refused by name."""
    with pytest.raises(ValueError, match=f"experiment.{key}=0"):
        Accuracy(**{key: 0})


def drive(experiment: Accuracy, outcomes: list[Outcome]) -> tuple[list[Attempt], dict[str, Any]]:
    """The attempts of a cell that end like this, and its row."""
    attempts, asked = experiment.attempts(CELL), []
    try:
        asked.append(next(attempts))
        for outcome in outcomes:
            asked.append(attempts.send(outcome))
    except StopIteration as end:
        return asked, end.value
    raise AssertionError("more attempts than outcomes")


def test_only_a_backends_failure_is_looked_into() -> None:
    """Minifier and bisector have a child each, after a failure of the backend; they change no verdict."""
    experiment = Accuracy(minify=True, bisect=True)
    asked, row = drive(experiment, [Outcome(Status.OK)])
    assert (len(asked), row["status"]) == (1, "ok")
    assert asked[0].env == {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    wrong = Outcome(Status.WRONG_OUTPUT, Phase.CHECK, values={"accuracy": "fail_accuracy", "flags": "dropout_off"})
    found = Outcome(Status.OK, values={"repro": "artifacts/x/repro.py", "repro_fails": True, "accuracy": "pass"})
    asked, row = drive(experiment, [wrong, found, Outcome(Status.TIMEOUT, Phase.COMPILE)])
    assert [attempt.options.get("aid") for attempt in asked] == [None, "minify", "bisect"]
    assert (row["accuracy"], row["status"], row["repro_fails"]) == ("fail_accuracy", "wrong_output", True)
    assert row["flags"] == "dropout_off;bisect_timeout"


def test_the_pass_rate_has_its_denominator() -> None:
    """All cells that were asked for are in it, those without a word and without a row too."""
    words = ["pass"] * 6 + ["pass_due_to_skip", "fail_accuracy", "pass_within_eager_noise", ""]
    rows = [{"accuracy": word, "status": "crashed", "mode": "training"} for word in words]
    (line,) = Accuracy.conclude(rows, 2)
    assert line.startswith("pass rate: 58.3 % (7 of 12 cells; with pass_within_eager_noise 66.7 %): 6 pass, 2 no row")
    assert "1 crashed" in line
    two = [*rows, {"accuracy": "fail_batch_invariance_at_4", "status": "wrong_output", "mode": "inference"}]
    first, second = Accuracy.conclude(two, 0)
    assert first.startswith("pass rate (training): 70.0 % (7 of 10 cells")
    assert second == "pass rate (inference): 0.0 % (0 of 1 cells): 1 fail_batch_invariance_at_N"
    assert list(Accuracy.conclude(two, 3)) == [first, second, "3 more cells without a row, in none of these pass rates"]
    assert pass_rate(rows[:1], 0, "") == "pass rate: 100.0 % (1 of 1 cells): 1 pass"


def test_from_the_command_line(cli: Any, tmp_path: Path, toys: tuple[str, str]) -> None:
    """Rows, tensors.csv and the pass rate of a run; the words of cells that never reached their check."""
    words = ("experiment=accuracy", "suite=pair", "mode=training", "backend=wrong", "batch_size=4")
    done = cli(*toys, "--multirun", *words, "backend.how=right,gradients_scaled", "hydra.sweep.dir=out")
    assert done.returncode == 1, done.stderr
    right, scaled = read_run(tmp_path / "out").rows
    assert (right["accuracy"], right["batch_size"], right["optimizer"]) == ("pass", 4, "sgd")
    assert (scaled["accuracy"], scaled["status"]) == ("fail_accuracy", "wrong_output")
    assert "cublas_workspace_config" in right["determinism"]
    assert "pass rate: 50.0 % (1 of 2 cells): 1 pass, 1 fail_accuracy" in done.stdout
    tables = list((tmp_path / "out").rglob("tensors.csv"))
    assert len(tables) == 1
    lines = read_rows(tables[0])
    assert {line["cell_id"] for line in lines} == {scaled["cell_id"]}
    assert len(lines) == scaled["tensors_wrong"]


INJECTED = ("experiment=accuracy", "suite=pair", "batch_size=4", "backend=injected")


@pytest.mark.slow
def test_a_bug_in_the_compiler_is_minified_and_located(cli: Any, tmp_path: Path, toys: tuple[str, str]) -> None:
    """torch's own injected bug: a script in the artifacts fails as the cell did, and the bisector blames inductor."""
    done = cli(*toys, *INJECTED, "experiment.minify=true", "experiment.minify_s=60", "experiment.bisect=true", "hydra.run.dir=out", timeout=900)
    (row,) = read_run(tmp_path / "out").rows
    assert row["accuracy"] == "fail_accuracy", done.stderr
    assert row["repro_fails"] is True
    script = tmp_path / "out" / row["repro"]
    assert "relu" in script.read_text()
    assert row["bisected"].startswith("inductor")


#: Each mode and both number formats always; the other pairs, which compile as long, with `-m slow`.
OFTEN = (("inference", "bf16"), ("training", "fp32"))
RARELY = (("inference", "fp32"), ("training", "bf16"), ("inference", "amp_bf16"), ("training", "amp_bf16"))


@pytest.mark.models
@pytest.mark.parametrize(
    ("mode", "precision"), [*OFTEN, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in RARELY)]
)
def test_no_false_alarm(cli: Any, tmp_path: Path, mode: str, precision: str) -> None:
    """Inductor is right on the demo models."""
    words = ("experiment=accuracy", f"mode={mode}", f"precision={precision}", "batch_size=4", "hydra.run.dir=out")
    done = cli(*words, timeout=900)
    assert done.returncode == 0, done.stderr
    assert [row["accuracy"] for row in read_run(tmp_path / "out").rows] == ["pass"] * 3
