"""What is refused before anything is waited for, written or run, and what a plan leaves behind: nothing."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from runner import __version__
from runner.results.reader import read_run

#: What is wrong -> a part of what is said. Those of the backend are for torch to judge.
WRONG = {
    ("device.cpus=4096",): "device.cpus is 4096 but this process may only use CPUs",
    ("device.cpus=0|4096", "plan=true"): "device.cpus is 4096 but this process may only use CPUs",
    ("device.cpus=first",): "device.cpus is 'first': it must be a list of CPUs (0-3,8), several (0-3|4-7), or numa",
    ("measure.affinity=3-0", "plan=true"): "measure.affinity is '3-0': it must be inherit, or a list of CPUs",
    ("device.cpus=0", "measure.affinity=1", "plan=true"): "device.cpus=0 and measure.affinity=1 say the same thing",
    ("device=cpu", "measure.clock=device"): "measure.clock=device needs timing events and device=cpu has none: use",
    ("suite.scale=small", "model=mlp", "plan=true"): "Key 'scale' not in 'Demo'",
    ("suite=torchbench", "suite.checkout=/nowhere", "model=resnet18"): "suite.checkout=/nowhere is no checkout of",
    ("isolation=none", "parallel=ddp", "parallel.nproc=2"): "parallel=ddp needs 2: use isolation=fork or spawn",
    ("isolation=none", "parallel=ddp", "plan=true"): "parallel=ddp needs",
    ("parallel=ddp", "measure.clock=device", "plan=true"): "measure.clock=device reads each rank's own time",
    ("experiment=selftest", "batch_size=4"): "experiment=selftest measures something of its own and no models: leave",
    ("experiment=selftest", "policy.tolerance=1e-2", "plan=true"): "leave policy.tolerance out",
    ("experiment=selftest", "model=mlp"): "leave model out",
    ("experiment=selftest", "suite=timm", "plan=true"): "leave suite out",
    ("experiment=selftest", "select.fast=true"): "leave select.fast out",
    ("backend.mode=max-autotun", "plan=true"): "backend.mode: No inductor mode named 'max-autotun'. Did you mean: max-",
    ("backend.config.max_autotun=true",): "backend.config: No inductor setting named 'max_autotun'. Did you mean: max",
    ("backend.options.max_autotune=7",): "backend.options.max_autotune=7: inductor wants bool",
    ("backend=dynamo", "backend.name=egaer"): "backend.name: No dynamo backend named 'egaer'. Did you mean: eager",
    ("backend=aot_inductor", "backend.mode=reduce-overhead"): "a package records no CUDA graphs",
}


def said(done: Any) -> str:
    """The one line with which a command was refused."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    return str(line)


def left(folder: Path) -> list[Path]:
    """What is in the folder."""
    return list(folder.rglob("*"))


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_refused_at_once(start: Any, tmp_path: Path, words: tuple[str, ...]) -> None:
    """While another run holds the device, and without a trace; a plan is refused like a run."""
    with start.held_cpus():
        done = start(tmp_path, *words, timeout=120)
    assert WRONG[words] in said(done)
    assert not left(tmp_path)


def test_torch_is_asked_for_a_plan_too(cli: Any, tmp_path: Path) -> None:
    """A right setting passes, and one that comes with a model's policy is judged like one of the backend's own."""
    assert cli("model=mlp", "backend.config.max_autotune=true", "plan=true").returncode == 0
    assert "No inductor setting named 'max_autotun'" in said(cli("policy.backend.config.max_autotun=true", "plan=true"))
    assert not left(tmp_path)


@pytest.mark.parametrize(
    "words", [(), ("--multirun", "model=mlp,convnet"), ("hydra.run.dir=mine/own",)], ids=["run", "sweep", "own folder"]
)
def test_a_plan_leaves_nothing(cli: Any, tmp_path: Path, words: tuple[str, ...]) -> None:
    """No folder of its own, and none for the day."""
    done = cli("plan=true", *words)
    assert done.returncode == 0, done.stderr
    assert "nothing was started" in done.stdout
    assert not left(tmp_path)


def test_a_plan_leaves_what_was_there(cli: Any, tmp_path: Path) -> None:
    """A folder of the user's stays, with what is in it."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert cli("plan=true", "hydra.run.dir=mine").returncode == 0
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--resolve",), "--resolve flag can only be used in conjunction with --cfg"),
        (("--cfg", "job", "--info"), "Only one of"),
    ],
    ids=["resolve", "two"],
)
def test_flags_of_hydra_that_do_not_fit(cli: Any, words: tuple[str, ...], part: str) -> None:
    """One sentence, as for everything else that is mistyped."""
    assert part in said(cli(*words))


def test_several_values_without_multirun(cli: Any) -> None:
    """The advice can be pasted into a shell: its quotes reach Hydra, and the text is one value."""
    advice = said(cli("tag=a,b", "plan=true")).rpartition("quote it: ")[2]
    assert shlex.split(advice) == ['tag="a,b"']
    assert cli(*shlex.split(advice), "plan=true", "model=mlp").returncode == 0
    (word,) = shlex.split(said(cli('tag="x, y",b', "plan=true")).rpartition("quote it: ")[2])
    assert cli(word, "plan=true", "model=mlp").returncode == 0


def test_versions(cli: Any, tmp_path: Path) -> None:
    """Of this program, of torch and of Hydra, from what is installed: a torch that can't be imported has one too."""
    (tmp_path / "torch.py").write_text("raise ImportError")
    done = cli("--version", env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parent.parent}"})
    assert done.returncode == 0, done.stderr
    expected = [f"runner {__version__}", f"torch {version('torch')}", f"hydra-core {version('hydra-core')}"]
    assert done.stdout.splitlines() == expected


def test_a_row_of_an_experiment_without_models(cli: Any, tmp_path: Path) -> None:
    """Its command can be pasted: it names no model."""
    quick = ("experiment.repeats=1", "experiment.target_ms=0.1", "measure.max_pairs=10", "measure.max_time_s=1")
    assert cli("experiment=selftest", *quick, "isolation=none", "hydra.run.dir=out").returncode in {0, 1}
    (row,) = read_run(tmp_path / "out").rows
    words = shlex.split(row["command"])
    assert words[:3] == ["python", "-m", "runner"]
    done = cli(*words[3:], "plan=true")
    assert done.returncode == 0, done.stderr
    assert row["cell_id"] in done.stdout


def test_a_missing_device_says_nothing_about_the_model(cli: Any, tmp_path: Path, toys: tuple[str, str]) -> None:
    """The column accuracy is empty where the model was never asked for; where its own package is missing, it isn't."""
    words = (*toys, "experiment=toy", "isolation=none")
    assert cli(*words, "suite=toy_suite", "model=toy1", "device=xpu", "hydra.run.dir=device").returncode == 0
    assert cli(*words, "suite=bad", "model=unsupported", "hydra.run.dir=model").returncode == 0
    found = [read_run(tmp_path / name).rows[0] for name in ("device", "model")]
    assert [row["status"] for row in found] == ["unsupported", "unsupported"]
    assert [row["accuracy"] for row in found] == ["", "model_fail_to_load"]


@pytest.mark.parametrize("words", [(), ("plan=true",)], ids=["run", "plan"])
def test_a_shard_that_no_job_has_cells_of(cli: Any, toys: tuple[str, str], words: tuple[str, ...]) -> None:
    """More shards than cells: the last one is empty, which is bad usage in a sweep as in a run."""
    shard = ("suite=toy_suite", "experiment=toy_noop", "isolation=none", "select.shard=9/9")
    done = cli(*toys, "--multirun", *shard, "model=toy1,toy_hidden", *words)
    assert done.returncode == 2
    assert re.search("^no cell selected: none of the sweep's cells is in this select.shard$", done.stderr, re.MULTILINE)
    assert "no cell selected" in said(cli(*toys, *shard, "model=toy1", *words))
