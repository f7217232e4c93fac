"""Experiment `forward_backward`: rows of forwards and backwards, on the suite it was made for and on others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.forward_backward import ForwardBackward
from runner.cells import Cell
from runner.experiment import Outcome
from runner.results.columns import Row, Status
from runner.results.reader import read_run

FEW = (
    *("measure.min_pairs=6", "measure.max_pairs=6", "measure.warmup_max_pairs=1", "measure.retry_unconverged=0"),
    *("measure.threads=1", "isolation=none"),
)
TINY = ("suite=fastrnns", "suite.seq_length=4", "suite.input_size=4", "suite.hidden_size=4", "batch_size=2")
MODULE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.spare = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.used(x)

    def get_example_inputs(self):
        return (torch.randn(2, 4),)
"""


def rows_of(done: Any, folder: Path) -> dict[str, Row]:
    """Rows by name of a run in `folder` that succeeded."""
    assert done.returncode == 0, done.stdout + done.stderr
    return {row["name"]: row for row in read_run(folder).rows}


@pytest.fixture(scope="module")
def rows(start: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Row]]:
    """A run of some runners with two layers, which some of them don't have."""
    folder = tmp_path_factory.mktemp("fastrnns")
    chosen = 'select.include=["^cudnn$","^jit$","^jit_dropout$","^cudnn_layernorm$"]'
    words = ("experiment=forward_backward", *TINY, "suite.num_layers=2", chosen, "hydra.run.dir=out")
    return folder / "out", rows_of(start(folder, *words, *FEW), folder / "out")


def test_both_directions_have_times(rows: tuple[Path, dict[str, Row]]) -> None:
    """Mean, median with interval and ratio with interval of each direction, from the samples that are kept."""
    folder, found = rows
    row = found["jit_dropout"]
    for key in ("fwd", "bwd"):
        assert row[f"median_{key}_lo"] <= row[f"median_{key}"] <= row[f"median_{key}_hi"]
        assert row[f"ratio_{key}_lo"] <= row[f"ratio_{key}"] <= row[f"ratio_{key}_hi"]
        with np.load(folder / "samples" / f"{row['cell_id']}.npz") as samples:
            assert row[f"avg_{key}"] == pytest.approx(1e3 * samples[f"{key}_tB"].mean())
            assert row[f"std_{key}"] == pytest.approx(1e3 * samples[f"{key}_tB"].std(ddof=1))
            assert row[f"pairs_{key}"] == len(samples[f"{key}_tA"]) == 6


def test_what_the_row_says(rows: tuple[Path, dict[str, Row]]) -> None:
    """Family, reference, mode and the agreement with the model that computes the same."""
    row = rows[1]["jit_dropout"]
    assert (row["family"], row["ratio_to"], row["mode"]) == ("lstm", "cudnn_dropout", "training")
    assert (row["accuracy"], row["reference"]) == ("pass", "cudnn_dropout")
    assert row["max_abs_err"] < 1e-5
    assert row["first_step_s"] > 0


def test_the_reference_is_measured_against_itself(rows: tuple[Path, dict[str, Row]]) -> None:
    """Its ratio is one but for noise, and there is nothing to compare its outputs with."""
    row = rows[1]["cudnn"]
    assert row["ratio_to"] == "cudnn"
    assert row["ratio_fwd"] is not None
    assert not row["accuracy"]


def test_a_forward_alone(rows: tuple[Path, dict[str, Row]]) -> None:
    """A runner without backward has empty columns there, and its outputs are compared."""
    row = rows[1]["cudnn_layernorm"]
    assert "forward_only" in row["flags"].split(";")
    assert row["avg_fwd"] > 0
    assert [row[name] for name in ("avg_bwd", "std_bwd", "median_bwd", "ratio_bwd", "pairs_bwd")] == [None] * 5
    assert row["accuracy"] == "pass"


def test_what_a_runner_cannot_do_is_its_row(rows: tuple[Path, dict[str, Row]]) -> None:
    """The runner with one layer says so; the others have their numbers."""
    row = rows[1]["jit"]
    assert (row["status"], row["avg_fwd"]) == ("unsupported", None)
    assert row["error"].startswith("jit has one layer, suite.num_layers=2 was given")


def test_upstreams_formats(cli: Any, rows: tuple[Path, dict[str, Row]]) -> None:
    """`report --format oss` and `pep` print what upstream's --print-json does."""
    folder, found = rows
    oss = cli("report", str(folder), "--format", "oss")
    assert json.loads(oss.stdout)["lstm-backward"]["cudnn"] == pytest.approx(found["cudnn"]["avg_bwd"])
    pep = cli("report", str(folder), "--format", "pep")
    assert pep.stdout.count("lstm-backward-jit_dropout") == 6


def test_an_unused_parameter(cli: Any, tmp_path: Path) -> None:
    """A model with a parameter that gets no gradient is measured and flagged; without reference there is no ratio."""
    (tmp_path / "net.py").write_text(MODULE)
    words = ("suite=module", "suite.path=net.py", "suite.class_name=Net", "experiment=forward_backward")
    (row,) = rows_of(cli(*words, *FEW, "hydra.run.dir=out"), tmp_path / "out").values()
    assert "unused_parameters" in row["flags"].split(";")
    assert row["avg_fwd"] > 0
    assert row["avg_bwd"] > 0
    assert not any(row[name] for name in ("family", "ratio_to", "ratio_fwd", "ratio_bwd"))


def test_a_reference_of_ones_own(cli: Any, tmp_path: Path) -> None:
    """experiment.reference relates any suite's models to one of them; a backend's output is checked."""
    words = ("model=mlp", "experiment=forward_backward", "backend=aot_eager", "experiment.reference=convnet")
    row = rows_of(cli(*words, "batch_size=2", *FEW, "hydra.run.dir=out"), tmp_path / "out")["mlp"]
    assert (row["ratio_to"], row["accuracy"], row["reference"]) == ("convnet", "pass", "fp64")
    assert row["ratio_fwd"] is not None
    assert row["ratio_bwd"] is not None


def test_a_reference_that_fails(cli: Any, tmp_path: Path, toys: Any) -> None:
    """Its failure costs the ratio of the others, not their times."""
    words = ("suite=bad", "model=good_before", "experiment=forward_backward", "experiment.reference=raises_in_forward")
    row = rows_of(cli(*toys, *words, *FEW, "hydra.run.dir=out"), tmp_path / "out")["good_before"]
    assert "reference_failed" in row["flags"].split(";")
    assert row["avg_fwd"] > 0
    assert row["ratio_fwd"] is None


def outcome(status: Status, **values: Any) -> Outcome:
    """What came back from a child."""
    return Outcome(status, values=values)


def final_row(*outcomes: Outcome, retry: int = 1) -> Row:
    """The row that `attempts` makes of these outcomes; all of them have to be asked for."""
    cell = Cell({"measure": {"retry_unconverged": retry}, "model": {"name": "mlp"}})
    steps = ForwardBackward().attempts(cell)
    next(steps)
    for place, found in enumerate(outcomes, 1):
        try:
            steps.send(found)
        except StopIteration as stop:
            assert place == len(outcomes)
            return stop.value
    raise AssertionError("another attempt was asked for")


def test_a_second_attempt() -> None:
    """What did not converge is measured again if more time may help; a failed repetition costs nothing."""
    good = outcome(Status.OK, converged=True, avg_fwd=1.0)
    wide = outcome(Status.OK, converged=False, avg_fwd=2.0, stop_fwd="futile", flags="unconverged")
    slow = outcome(Status.OK, converged=False, avg_fwd=3.0, stop_fwd="budget")
    assert final_row(good)["avg_fwd"] == 1.0
    assert final_row(slow)["avg_fwd"] == 3.0
    assert final_row(wide, retry=0)["avg_fwd"] == 2.0
    again = final_row(wide, good)
    assert (again["avg_fwd"], again["flags"]) == (1.0, "retried")
    kept = final_row(wide, outcome(Status.OOM))
    assert (kept["avg_fwd"], kept["status"], kept["flags"]) == (2.0, "ok", "unconverged;retried")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("suite=fastrnns", "suite.fuser=foo"), "Invalid value 'foo', expected one of [default, te, old, none]"),
        (("suite=fastrnns", "suite.executor=fast"), "expected one of [default, profiling, simple, legacy]"),
        (("suite=fastrnns", "suite.group=lstm"), "expected one of [all, rnns, cnns, vl_rnns, variants, cells]"),
        (("suite=fastrnns", "suite.group=rnns", "model=resnet18"), "No model named 'resnet18'"),
        (("suite=fastrnns", "suite.seq_length=0"), "suite.seq_length=0: give a whole number above 0"),
        (("experiment.reference=mpl",), "Did you mean: mlp"),
        (("mode=inference",), "'mode' is no group"),
        (("mode.name=inference",), "forward_backward trains"),
        (("measure=rigorous",), "measure.processes=3: experiment=forward_backward chooses its processes itself"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_makes_no_sense(cli: Any, words: tuple[str, ...], said: str) -> None:
    """One sentence with what is allowed, exit 2, nothing measured."""
    done = cli("experiment=forward_backward", *words, "plan=true")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert said in done.stderr
