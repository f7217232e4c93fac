"""Backends that are wrong in one precise way are caught with the right word, and right ones pass."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from experiments.accuracy import Accuracy
from runner.loaders.demo import Demo
from runner.results.reader import read_run

PRECISIONS = ("fp32", "bf16", "amp")
OUTPUT = (
    *("output_dropped", "transposed", "broadcastable", "last_row_zeroed", "one_nan", "dtype_changed", "stale"),
)
TRAINING = ("gradients_scaled", "gradient_noise", "buffer_not_updated", "step_skipped", "updated_twice", "mask_shared")
#: Where a mistake shows first, as it is named in the row.
WORDS = {
    "output_dropped": "entries",
    "broadcastable": "has shape [1,",
    "one_nan": "finite",
    "dtype_changed": "dtype torch.float64",
    "stale": "step2.",
    "gradients_scaled": "gradients",
    "gradient_noise": "gradients",
    "buffer_not_updated": "buffers.",
    "step_skipped": "parameters.",
    "updated_twice": "parameters.",
    "mask_shared": "random numbers",
}


def wrongs(mode: str) -> tuple[str, ...]:
    """Mistakes that a mode can show."""
    return OUTPUT if mode == "inference" else (*OUTPUT, *TRAINING)


MODES = ("inference", "training")
CASES = [(mode, precision, how) for mode in MODES for precision in PRECISIONS for how in wrongs(mode)]


@pytest.mark.parametrize(("mode", "precision", "how"), CASES)
def test_a_mistake_is_caught(wrong: ModuleType, perform: Any, mode: str, precision: str, how: str) -> None:
    """`fail_accuracy`, `wrong_output`, and the tensor or the reason that shows the mistake; details in tensors.csv."""
    done = perform(Accuracy(eval_mode=False), wrong.Pair(), "pair", wrong.Wrong(wrong.How[how]), mode, precision)
    assert (done.row["accuracy"], done.row["status"]) == ("fail_accuracy", "wrong_output"), done.row
    found = " ".join(f"{row['tensor']} {row['reason']}" for row in done.context.tables)
    assert WORDS.get(how, "") in found
    assert done.row["tensors_wrong"] == len(done.context.tables) > 0


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("model", ["pair", "mlp", "convnet", "transformer"])
def test_what_is_right_passes(wrong: ModuleType, perform: Any, model: str, mode: str, precision: str) -> None:
    """`pass`, with an fp64 reference, and no word of doubt."""
    suite = wrong.Pair() if model == "pair" else Demo()
    done = perform(Accuracy(), suite, model, wrong.Wrong(), mode, precision, batch_size=4)
    assert (done.row["accuracy"], done.row["reference"]) == ("pass", "fp64"), done.row
    assert "status" not in done.row
    assert done.context.tables == []


#: What a training step with the demo's loss, which has labels, can't even compute.
UNUSABLE = ("output_dropped", "broadcastable")
HAVE = {"convnet": {"buffer_not_updated"}}


@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("model", ["mlp", "convnet", "transformer"])
def test_the_demo_models_show_them_too(wrong: ModuleType, perform: Any, model: str, mode: str) -> None:
    """Every mistake that a demo model can show is caught; an output that the loss can't take is `fail_to_run`."""
    special = {"buffer_not_updated", "mask_shared"} - HAVE.get(model, set())
    hows = [how for how in wrongs(mode) if how not in special]
    for how in hows:
        row = perform(Accuracy(), Demo(), model, wrong.Wrong(wrong.How[how]), mode, batch_size=4).row
        unusable = mode == "training" and how in UNUSABLE
        expected = ("fail_to_run", "run_error") if unusable else ("fail_accuracy", "wrong_output")
        assert row["status"] in (expected[1], "compile_error"), (how, row)
        assert row["accuracy"] == expected[0], (how, row)


@pytest.mark.parametrize(
    "mistakes",
    [("one_nan", "gradients_scaled", "mask_shared"), pytest.param(wrongs("training"), marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_speedup_refuses_them(cli: Any, toys: tuple[str, str], tmp_path: Path, mistakes: tuple[str, ...]) -> None:
    """The same list through the experiment speedup ends in wrong_output, and no mean has them in it."""
    hows = ",".join((*mistakes, "right"))
    few = ("measure.max_pairs=10", "measure.warmup_max_pairs=3", "measure.retry_unconverged=0")
    words = ("experiment=speedup", "suite=pair", "mode=training", "backend=wrong", f"backend.how={hows}", *few)
    done = cli(*toys, "--multirun", *words, "isolation=none", "hydra.sweep.dir=out", timeout=600)
    rows = read_run(tmp_path / "out").rows
    assert done.returncode == 1
    assert [row["status"] for row in rows] == ["wrong_output"] * (len(rows) - 1) + ["ok"], done.stderr
    assert {row["accuracy"] for row in rows[:-1]} == {"fail_accuracy"}
    assert len(rows) == len(mistakes) + 1
    assert "geometric mean of 1 model" in done.stdout or "1 unconverged" in done.stdout
    assert f"{len(rows) - 1} wrong" in done.stdout
