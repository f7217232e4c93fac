"""The precisions that other tests hardly use, on a CPU: what each row says."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from runner.results.columns import Row
from runner.results.reader import read_run

MODES = ("inference", "training")
#: Absolute and relative tolerance by precision.
TOLERANCES = {"fp64": 1e-4, "fp16": 1e-3, "amp_fp16": 1e-3}
CASES = tuple(product(MODES, TOLERANCES))


@pytest.fixture(scope="module")
def rows(start: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Row]:
    """One sweep over them, its rows by mode and precision."""
    folder = tmp_path_factory.mktemp("precisions")
    swept = (f"mode={','.join(MODES)}", f"precision={','.join(TOLERANCES)}")
    words = ("model=mlp", "batch_size=2", "backend=eager", "experiment=accuracy", "device=cpu", *swept)
    done = start(folder, "--multirun", *words, "hydra.sweep.dir=out")
    assert done.returncode == 0, done.stderr
    return {(row["mode"], row["precision"]): row for row in read_run(folder / "out").rows}


@pytest.mark.parametrize(("mode", "precision"), CASES)
def test_what_the_row_says(rows: dict[tuple[str, str], Row], mode: str, precision: str) -> None:
    """The reference is in fp64, the tolerance that of the precision, and half precision is what was computed in."""
    row = rows[mode, precision]
    assert (row["status"], row["accuracy"], row["reference"]) == ("ok", "pass", "fp64"), row
    assert row["tolerance"] == TOLERANCES[precision]
    assert ((row["rmse_eager"] or 0.0) > 1e-5) == (precision != "fp64")


def test_each_has_a_row(rows: dict[tuple[str, str], Row]) -> None:
    """Column precision has the word that was asked for."""
    assert set(rows) == set(CASES)
