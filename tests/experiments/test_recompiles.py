"""Recompiles: which variations of the inputs make dynamo compile again, on models where that is known."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))
import captures

from experiments.recompiles import Recompiles
from runner.backends.dynamo import Dynamo
from runner.compiling import input_variations
from runner.errors import Unsupported
from runner.results.reader import read_rows, read_run

NONE = {"batch_sizes": [], "sequence_lengths": [], "dtypes": [], "requires_grad": False, "training_flag": False}


def outcomes(done: captures.Done) -> list[tuple[Any, ...]]:
    """Value, outcome and recompilations of each variation."""
    rows = done.context.tables.get("variations", [])
    return [(row["value"], row["outcome"], row.get("recompilations")) for row in rows]


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_a_second_batch_size_makes_it_dynamic(mode: str, tmp_path: Path) -> None:
    """The first other size is compiled again, with a size that may vary: the next ones are not, but 1 is special."""
    experiment = Recompiles(**NONE | {"batch_sizes": [5, 4, 2, 1]})
    done = captures.perform(experiment, captures.workload_of(captures.Whole, mode, 6), tmp_path)
    assert outcomes(done) == [("5", "ok", 1), ("4", "ok", 0), ("2", "ok", 0), ("1", "ok", 1)]
    assert "size mismatch at index 0. expected 6, actual 5" in done.context.tables["variations"][0]["reasons"]
    assert done.of("variations", "recompiling", "recompilations", "limit_hits") == (4, 2, 2, 0)
    assert done.row["lost_s"] > 0
    assert done.row["compile_s"] > 0


def test_the_limit_is_seen(tmp_path: Path) -> None:
    """Sizes that may not vary are compiled one by one until dynamo refuses, once; the rest runs in eager."""
    sizes = [2, 3, 4, 5, 7, 8, 9, 10, 11]
    experiment = Recompiles(**NONE | {"batch_sizes": sizes})
    backend = Dynamo(name="eager", dynamic=False)
    done = captures.perform(experiment, captures.workload_of(captures.Whole, batch_size=6), tmp_path, backend)
    limit = torch._dynamo.config.recompile_limit
    assert done.of("recompilations", "limit_hits") == (limit - 1, 1)
    assert outcomes(done)[-1] == ("11", "ok", 0)


def test_each_kind_starts_anew(tmp_path: Path) -> None:
    """What one kind made dynamo learn is forgotten; each of these is compiled again once."""
    experiment = Recompiles(batch_sizes=[5], sequence_lengths=[])
    done = captures.perform(experiment, captures.workload_of(captures.Dropping, batch_size=6), tmp_path)
    rows = done.context.tables["variations"]
    assert [(row["kind"], row["recompilations"]) for row in rows] == [
        ("batch_size", 1),
        ("dtype", 1),
        ("requires_grad", 1),
        ("training_flag", 1),
    ]
    words = ("size mismatch", "dtype mismatch", "requires_grad mismatch", "training")
    assert all(word in row["reasons"] for word, row in zip(words, rows, strict=True))


def test_what_a_model_does_not_have_is_not_applicable(tmp_path: Path) -> None:
    """Token ids have a length and no gradient; a matrix has neither, and there is nothing to wait for."""
    tokens = captures.perform(Recompiles(batch_sizes=[], dtypes=[]), captures.workload_of(captures.Tokens), tmp_path)
    assert outcomes(tokens) == [
        ("6", "ok", 1),
        ("4", "ok", 0),
        ("2", "ok", 0),
        ("flipped", "not_applicable", None),
        ("flipped", "ok", 0),
    ]
    matrix = Recompiles(**NONE | {"sequence_lengths": [3]})
    done = captures.perform(matrix, captures.workload_of(captures.Whole), tmp_path)
    assert outcomes(done) == [("3", "not_applicable", None)]
    assert "no sequences" in done.context.tables["variations"][0]["reasons"]


class Refusing:
    """A backend that fails on a batch of 2."""

    def prepare(self, workload: Any) -> Any:
        def call(x: torch.Tensor) -> Any:
            if len(x) == 2:
                raise RuntimeError("not this one")
            return workload.model(x)

        return call


def test_a_backend_that_fails_is_an_error_of_the_cell(tmp_path: Path) -> None:
    """The other variations are tried all the same."""
    experiment = Recompiles(**NONE | {"batch_sizes": [2, 3]})
    done = captures.perform(experiment, captures.workload_of(captures.Whole, batch_size=6), tmp_path, Refusing())
    assert outcomes(done) == [("2", "failed", 0), ("3", "ok", 0)]
    assert done.of("status", "failed", "variations") == ("run_error", 1, 1)
    assert "with batch_size 2 the backend raised RuntimeError: not this one" in done.row["error"]


def test_the_model_is_as_before(tmp_path: Path) -> None:
    """Weights, dtypes, flags and inputs."""
    workload = captures.workload_of(captures.Dropping, "training", 6)
    before = {name: value.detach().clone() for name, value in workload.parameters().items()}
    captures.perform(Recompiles(), workload, tmp_path)
    assert all(value.equal(before[name]) for name, value in workload.parameters().items())
    assert all(module.training for module in workload.model.modules())
    assert not workload.args[0].requires_grad


def test_sequences_are_stretched_in_every_input() -> None:
    """All dimensions but the first that are as long as the sequence follow it."""
    workload = captures.workload_of(captures.Tokens)
    workload.kwargs = {"mask": torch.ones(4, 1, 8, 8), "labels": torch.arange(8).repeat(4, 1), "other": torch.ones(8)}
    with input_variations.sequence_length(11).made(workload) as longer:
        shapes = {name: tuple(tensor.shape) for name, tensor in longer.kwargs.items()}
        assert shapes == {"mask": (4, 1, 11, 11), "labels": (4, 11), "other": (8,)}
        assert longer.kwargs["labels"][0].tolist() == [*range(8), 0, 1, 2]
    with pytest.raises(Unsupported), input_variations.sequence_length(3).made(captures.workload_of(captures.Whole)):
        pass


def test_the_command(cli: Any, tmp_path: Path) -> None:
    """Lists on the command line; the long table has one line for each variation."""
    words = ("backend=dynamo", "model=transformer", "experiment.batch_sizes=[2]", "experiment.sequence_lengths=[5,7]")
    done = cli("experiment=recompiles", *words, "experiment.dtypes=[]", "batch_size=4", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    (row,) = read_run(tmp_path / "out").rows
    assert (row["status"], row["variations"], row["recompilations"]) == ("ok", 4, 2)
    kinds = [line["kind"] for line in read_rows(tmp_path / "out" / "variations.csv")]
    assert kinds == ["batch_size", "sequence_length", "sequence_length", "requires_grad", "training_flag"]


@pytest.mark.parametrize(
    ("word", "said"),
    [("experiment.batch_sizes=[0]", "give numbers above 0"), ("experiment.dtypes=[half]", "no dtype 'half'")],
)
def test_wrong_values_are_refused(cli: Any, word: str, said: str) -> None:
    """One sentence, exit 2."""
    done = cli("experiment=recompiles", word)
    assert done.returncode == 2
    assert said in done.stderr
