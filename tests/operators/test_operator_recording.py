"""What models do while they are made and run on fake tensors, and how recorded logs become an archive."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import torch
from torch._subclasses import FakeTensorMode

from runner.operators import catalogue, pack
from runner.operators.recorder import Recorder


def test_a_model_reads_numbers_while_it_is_made() -> None:
    """Rates by way of linspace are what they are, and of weights without values none is out of bounds."""
    with FakeTensorMode(allow_non_fake_inputs=True), Recorder():
        whole = torch.linspace(0, 1, 5)
        parts = [part.tolist() for part in torch.split(whole, [2, 3])]
        rate = whole[2].item()
        weights = torch.nn.Linear(3, 3).weight
        outside = bool((weights > 2).any())
    assert (parts, rate, outside) == ([[0, 0.25], [0.5, 0.75, 1]], 0.5, False)


def test_real_inputs_of_a_fake_step_keep_their_range() -> None:
    """Indices that hold values bring their bounds into the log although the step runs on fake tensors."""
    weight, indices = torch.ones(10, 4), torch.tensor([7, 2, 5])
    with FakeTensorMode(allow_non_fake_inputs=True), Recorder() as recorder:
        recorder.recording = True
        torch.nn.functional.embedding(indices, weight)
    assert "'range': {1: (2, 7)}" in recorder.text()


def test_logs_are_added_to_an_archive(tmp_path: Path) -> None:
    """With --keep a log takes the place of the one with its name and the others stay; without, they go."""
    pack.write(tmp_path / "zoo.tar.xz", {"a_training.txt": "old", "b_training.txt": "old", "manifest.json": '{"b": {}}'})
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text('{"environment": {"torch": {"version": "2.13.0"}}}')
    (run / "a_training.txt").write_text("new")
    (run / "record_operators.csv").write_text(
        "name,suite,status,operator_log,batch_size,precision,recorded_with\n"
        "a,zoo,ok,a_training.txt,4,fp32,fake tensors\nc,zoo,oom,,4,fp32,\n"
    )
    pack.main([str(run), "--keep", "--output", str(tmp_path)])
    found = catalogue.read_archive(tmp_path / "zoo.tar.xz")
    assert (found["a_training.txt"], found["b_training.txt"]) == ("new", "old")
    assert set(json.loads(found["manifest.json"])) == {"a_training.txt", "b"}
    pack.main([str(run), "--output", str(tmp_path)])
    with tarfile.open(tmp_path / "zoo.tar.xz") as archive:
        assert archive.getnames() == ["a_training.txt", "manifest.json"]
