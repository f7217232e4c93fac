"""prewarm=N: compiled side by side, measured alone, with the same code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner import prewarm
from runner.results.reader import read_run

WORDS = ("model=mlp", "batch_size=2", "measure=quick", "measure.max_time_s=1", "measure.retry_unconverged=0")


@pytest.mark.slow
def test_the_same_code(cli: Any, tmp_path: Path) -> None:
    """A prewarmed row has no compile time and the kernels of a cold one."""
    rows = {}
    for name, words in {"cold": (), "prewarmed": ("prewarm=2",)}.items():
        done = cli(*WORDS, *words, f"hydra.run.dir={name}")
        assert done.returncode == 0, done.stderr
        (rows[name],) = read_run(tmp_path / name).rows
        assert rows[name]["cache"] == name
    assert "mlp compiled" in done.stderr
    assert rows["cold"]["kernels"] == rows["prewarmed"]["kernels"] != ""
    assert rows["cold"]["cell_id"] == rows["prewarmed"]["cell_id"]
    assert rows["cold"]["compile_s"] > 0
    assert rows["prewarmed"]["compile_s"] is None


def test_code_is_the_same_wherever_it_lies(tmp_path: Path) -> None:
    """Comments with the folder's name, and file names that follow from them, tell no two codes apart."""
    hashes = []
    for folder, name, code in (("one", "ca", "x = 1"), ("two", "cb", "x = 1"), ("three", "ca", "x = 2")):
        place = tmp_path / folder / "inductor"
        place.mkdir(parents=True)
        (place / f"{name}.py").write_text(f"# kernel path: {place}/ab.py\n{code}\n")
        hashes.append(prewarm.kernels(tmp_path / folder))
    assert hashes[0] == hashes[1] != hashes[2]
    assert prewarm.kernels(tmp_path / "nothing") == ""


def test_compiled_beforehand(cli: Any, tmp_path: Path) -> None:
    """The cell is compiled, then measured with nothing left to compile, and its row says so."""
    done = cli(*WORDS, "backend=aot_eager", "prewarm=1", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    assert "mlp compiled" in done.stderr
    (row,) = read_run(tmp_path / "out").rows
    assert (row["status"], row["cache"], row["compile_s"]) == ("ok", "prewarmed", None), row
    assert row["speedup"] > 0


@pytest.mark.slow
def test_what_can_not_be_compiled(cli: Any, toys: tuple[str, str], tmp_path: Path) -> None:
    """A cell that fails while it is prewarmed is measured all the same, and its row says what is wrong."""
    words = ("suite=bad", 'select.include=["^good_before$","^segfault$"]', "backend=aot_eager", "prewarm=2")
    done = cli(*toys, *words, *WORDS[2:], "hydra.run.dir=out")
    assert done.returncode == 1, done.stderr
    assert "segfault not compiled: crashed" in done.stderr
    found = {row["name"]: row for row in read_run(tmp_path / "out").rows}
    assert (found["segfault"]["status"], found["segfault"]["cache"]) == ("crashed", "cold")
    assert (found["good_before"]["status"], found["good_before"]["cache"]) == ("ok", "prewarmed")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("prewarm=-1",), "prewarm=-1"),
        (("prewarm=2", "experiment.cache=warm"), "give one of them"),
        (("prewarm=2", "experiment=tolerance"), "this experiment"),
        (("prewarm=2", "isolation=none"), "isolation"),
    ],
)
def test_refusals(cli: Any, words: tuple[str, ...], sentence: str) -> None:
    """What can't be prewarmed is bad usage."""
    done = cli("model=mlp", *words)
    assert done.returncode == 2
    assert sentence in done.stderr
