"""`python -m runner models`: what it lists, in which forms, and that it needs no torch."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from runner import models_command, parameter_counts
from runner.loaders.demo import Demo
from runner.workload import Mode


def test_the_table(cli: Any) -> None:
    """Names, batch sizes, recorded parameters and availability, without torch, in the catalogue's order."""
    done = cli("models", "suite=demo", env={"PYTHONPROFILEIMPORTTIME": "1"})
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "mlp", "convnet", "transformer", "3"]
    assert lines[1].split() == ["mlp", "builtin", "64", "64", "265738", "yes"]
    assert lines[-1] == "3 models, 3 available here"
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "numpy", "pandas", "scipy"}


def test_json_and_csv(cli: Any) -> None:
    """The same rows as objects and as a CSV."""
    objects = json.loads(cli("models", "--json", "suite=demo", "*n*").stdout)
    rows = list(csv.DictReader(io.StringIO(cli("models", "suite=demo", "*n*", "--csv").stdout)))
    assert [o["name"] for o in objects] == [row["name"] for row in rows] == ["convnet", "transformer"]
    assert (objects[0]["available"], rows[0]["available"]) == (True, "true")
    assert (objects[0]["batch_size_training"], rows[0]["batch_size_training"]) == (16, "16")


def test_parameters_are_counted(cli: Any, tmp_path: Path) -> None:
    """`--params` counts on the meta device, also a model that nobody recorded; one that fails costs its own count."""
    (tmp_path / "net.py").write_text(
        "import torch\n\n\nclass Net(torch.nn.Linear):\n"
        "    def __init__(self):\n        print('hello')\n        super().__init__(10, 3)\n\n"
        "    def get_example_inputs(self):\n        return (torch.ones(2, 10),)\n"
    )
    words = ("models", "suite=module", "suite.path=net.py", "suite.class_name=Net", "--json")
    assert json.loads(cli(*words).stdout)[0]["parameters"] is None
    assert json.loads(cli(*words, "--params").stdout)[0]["parameters"] == 33


def test_a_model_that_ends_its_process(tmp_path: Path) -> None:
    """The next models are counted all the same."""
    node = {"_target_": "runner.loaders.demo.Demo"}
    found = {one.name: one for one in parameter_counts.count(node, ["nonsense", "mlp"])}
    assert (found["nonsense"].parameters, found["mlp"].parameters) == (None, 265738)
    (tmp_path / "net.py").write_text("import os\n\n\ndef Net():\n    os._exit(7)\n")
    node = {"_target_": "runner.loaders.module.Module", "path": str(tmp_path / "net.py"), "class_name": "Net"}
    assert [one.why for one in parameter_counts.count(node, ["Net"])] == ["ended its process with code 7"]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not installed, with the pip command; a model that the catalogue skips, with its reason."""
    from runner.loaders import Facts

    monkeypatch.setattr(Demo, "facts", lambda self, name: Facts("x", 1, 2, "needs timm>=1.0: pip install timm"))
    own = {mode: {"batch_size_training": 8, "batch_divisor": 4} for mode in Mode}
    row = models_command._row(Demo(), "mlp", own, None)
    assert (row["available"], row["why"]) == (False, "needs timm>=1.0: pip install timm")
    assert (row["batch_size_inference"], row["batch_size_training"]) == (1, 2)
    row = models_command._row(object(), "mlp", {mode: {"skip": "broken"} for mode in Mode}, 3)
    assert (row["available"], row["why"]) == (False, "broken")


def test_the_policy_counts(cli: Any, tmp_path: Path) -> None:
    """Entries of a policy file hold, and conditions where they do on the device: in both modes, or in one of them."""
    (tmp_path / "p.yaml").write_text(
        "mlp: {where: {cpu: {skip: not on CPUs}}}\n"
        "convnet: {batch_size_inference: 9, batch_divisor: 2, where: {training: {skip: no loss}, bf16: {skip: wrong}}}\n"
        "transformer: {where: {cuda+training: {skip: too large}, cuda+inference: {skip: too slow}}}\n"
    )
    found = {}
    for device in ("cpu", "cuda"):
        rows = json.loads(cli("models", "suite=demo", f"device={device}", "suite.policy_file=p.yaml", "--json").stdout)
        found[device] = {row["name"]: row for row in rows}
    said = {device: [(row["available"], row["why"]) for row in rows.values()] for device, rows in found.items()}
    assert said["cpu"] == [(False, "not on CPUs"), (True, "training: no loss"), (True, "")]
    assert said["cuda"] == [(True, ""), (True, "training: no loss"), (False, "inference: too slow; training: too large")]
    convnet = found["cpu"]["convnet"]
    assert (convnet["batch_size_inference"], convnet["batch_size_training"]) == (4, 8)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("suite=dmo",), "Did you mean: demo?"),
        (("suite=demo", "mpl"), "Did you mean: mlp?"),
        (("suite=demo", "a", "b"), "give one pattern, not 2"),
        (("suite=demo", "mode=training"), "suite.FIELD=VALUE"),
        (("suite=demo", "device=cdua"), "Did you mean: cuda?"),
        (("suite=demo", "suite.policy_file=none.yaml"), "suite.policy_file=none.yaml can't be read"),
        (("suite=demo", "suite.foo=1"), "foo"),
        (("suite=module",), "suite.path"),
    ],
)
def test_mistakes(cli: Any, words: tuple[str, ...], sentence: str) -> None:
    """One sentence each, exit 2."""
    done = cli("models", *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert sentence in done.stderr
