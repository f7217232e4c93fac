"""What is ready before a cell is measured: with prewarm=N its code, in every forked child what the server found out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner import prewarm
from runner.results.reader import read_run

WORDS = ("model=mlp", "batch_size=2", "measure=quick", "measure.max_time_s=1", "measure.retry_unconverged=0")
ASKS = """
import torch
from torch._inductor import cpu_vec_isa

class Net(torch.nn.Module):
    def forward(self, x):
        print(f"answers known: {cpu_vec_isa.valid_vec_isa_list.cache_info().currsize}", flush=True)
        return x + 1

    def get_example_inputs(self):
        return (torch.randn(2, 4),)
"""


def test_the_same_code(cli: Any, tmp_path: Path) -> None:
    """A cell that is compiled, then measured with nothing left to compile, has no compile time and a cold one's kernels."""
    rows = {}
    for name, words in {"cold": (), "prewarmed": ("prewarm=2",)}.items():
        done = cli(*WORDS, *words, f"hydra.run.dir={name}")
        assert done.returncode == 0, done.stderr
        (rows[name],) = read_run(tmp_path / name).rows
        assert (rows[name]["status"], rows[name]["cache"]) == ("ok", name)
        assert rows[name]["speedup"] > 0
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


def test_a_forked_child_knows_the_instruction_sets(cli: Any, tmp_path: Path) -> None:
    """Which ones the compiler and the CPU have is found out once, before the fork, not in the first call of a cell."""
    (tmp_path / "net.py").write_text(ASKS)
    words = ("suite=module", "suite.path=net.py", "suite.class_name=Net", "experiment=accuracy", "backend=eager")
    done = cli(*words, "device=cpu", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    (row,) = read_run(tmp_path / "out").rows
    log = (tmp_path / "out" / row["log"]).read_text()
    assert "answers known: 1" in log
    assert "answers known: 0" not in log


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
