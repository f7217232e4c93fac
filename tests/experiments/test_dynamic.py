"""Inputs whose sizes vary: what is marked, what is exported, and a speedup over several batch sizes."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo.testing

from runner import dynamic
from runner.cells import Cell
from runner.errors import Unsupported
from runner.loaders.demo import Demo
from runner.results.reader import read_run
from runner.workload import Dynamic, LoadRequest, Workload


def load(name: str, batch_size: int) -> Workload:
    """A model of suite demo."""
    return Demo().load(name, LoadRequest(batch_size=batch_size))


def varying(name: str, kind: Dynamic, batch_size: int = 16) -> Workload:
    """The same, marked as a cell with `dynamic=` has it."""
    workload = replace(load(name, batch_size), dynamic=kind, reload=partial(load, name))
    dynamic.mark(workload)
    return workload


def frames(name: str, kind: Dynamic) -> int:
    """Frames that dynamo compiles while the batch size changes."""
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounter()
    workload = varying(name, kind)
    call = torch.compile(workload.model, backend=counter)
    for one in dynamic.sequence(workload, [16, 12, 8, 4]):
        one.step(call)
    return int(counter.frame_count)


@pytest.mark.parametrize("name", ["mlp", pytest.param("transformer", marks=pytest.mark.slow)])
def test_marked_sizes_are_compiled_once(name: str) -> None:
    """Static inputs are compiled again when the batch changes, marked ones are not."""
    assert frames(name, Dynamic.static) == 2
    assert [frames(name, kind) for kind in (Dynamic.batch, Dynamic.all, Dynamic.unbacked)] == [1, 1, 1]


def test_exported_programs_take_other_batch_sizes() -> None:
    """The shapes for torch.export leave the batch open, or every size; static ones are none at all."""
    for kind, dims in ((Dynamic.batch, {0}), (Dynamic.all, {0, 1, 2, 3})):
        workload = varying("convnet", kind)
        shapes = dynamic.export_shapes(workload)
        assert set(shapes["images"]) == dims
        program = torch.export.export(workload.model, workload.args, dynamic_shapes=shapes)
        other = workload.resized(5)
        assert program.module()(*other.args).shape[0] == 5
    assert dynamic.export_shapes(varying("convnet", Dynamic.static)) is None
    with pytest.raises(Unsupported, match="dynamic=batch"):
        dynamic.export_shapes(varying("convnet", Dynamic.unbacked))


def test_another_batch_size_is_the_same_model() -> None:
    """Parameters and optimizer are the same objects; a fixed batch size is refused, and so is a batch of one."""
    workload = varying("mlp", Dynamic.batch)
    other = workload.resized(3)
    assert other.model is workload.model
    assert (other.batch_size, other.args[0].shape[0]) == (3, 3)
    with pytest.raises(Unsupported, match="fixed batch size of 16"):
        replace(workload, reload=lambda size: load("mlp", 16)).resized(3)
    with pytest.raises(Unsupported, match="batch_size=2 or more"):
        varying("mlp", Dynamic.batch, batch_size=1)


def test_batch_sizes() -> None:
    """The given one first, none below two, none above it unless there is no other."""
    found = {size: dynamic.batch_sizes(size) for size in (2, 3, 8, 64)}
    assert found == {2: (2, 3), 3: (3, 4), 8: (8, 6, 4, 2), 64: (64, 48, 32, 16)}


def test_the_cell_of_a_static_run_is_what_it_was(cli: Any) -> None:
    """`dynamic=static` leaves no trace in a cell; another choice is another cell and a column."""
    plans = [cli("model=mlp", "plan=true", *words).stdout for words in ((), ("dynamic=static",), ("dynamic=all",))]
    assert plans[0] == plans[1] != plans[2]
    assert Cell({"choices": {"dynamic": "batch"}, "model": {"name": "m"}, "device": {"type": "cpu"}, "experiment": {}}).row()["dynamic"] == "batch"


def test_speedup_over_several_batch_sizes(cli: Any, tmp_path: Path) -> None:
    """Both sides go through the same sizes; recompiles, a row per size, and a second baseline in the same process."""
    words = ("model=mlp", "backend=dynamo", "backend.name=eager", "measure.max_pairs=10", "measure.warmup_max_pairs=3")
    more = ("measure.retry_unconverged=0", "experiment.against=[eager,aot_eager]", "device=cpu", "batch_size=16")
    done = cli(*words, *more, "dynamic=batch", "hydra.run.dir=out")
    row = read_run(tmp_path / "out").rows[0]
    assert row["status"] == "ok", done.stdout
    assert (row["dynamic"], row["recompiles"], row["accuracy"]) == ("batch", 0, "pass")
    assert row["speedup_vs_aot_eager"] > 0
    assert row["aot_eager_latency"] > 0
    with (tmp_path / "out" / "dynamic_shapes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(r["batch_size"]) for r in rows] == [16, 12, 8, 4]
    assert all(float(r["speedup"]) > 0 for r in rows)


def test_sizes_without_marks(cli: Any, tmp_path: Path) -> None:
    """`experiment.batch_sizes` varies static inputs too: dynamo then compiles again, and the row counts it.

    The row's batch size is the first of them, not the model's own, which nothing is measured at.
    """
    words = ("model=mlp", "backend=dynamo", "backend.name=eager", "measure.max_pairs=10", "measure.warmup_max_pairs=3")
    done = cli(*words, "measure.retry_unconverged=0", "experiment.batch_sizes=[8,4]", "device=cpu", "hydra.run.dir=out")
    row = read_run(tmp_path / "out").rows[0]
    assert (row["status"], row["recompiles"], row["batch_size"]) == ("ok", 1, 8), done.stdout
    assert not row["dynamic"]


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("experiment.against=[aot_eager]", "give eager, then other backends"),
        ("experiment.against=[eager,nope]", "No backend named 'nope'"),
        ("experiment.batch_sizes=[0]", "give numbers above 0"),
    ],
)
def test_mistakes(cli: Any, word: str, sentence: str) -> None:
    """One sentence each, exit 2."""
    done = cli("model=mlp", word, "plan=true")
    assert (done.returncode, sentence in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr
