"""Suite `torchbench` with a checkout: its models load through their own classes, and leave nothing behind."""

from __future__ import annotations

import csv
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.errors import Unsupported, UsageError
from runner.loaders.checkout.directory import KNOWN_COMMIT, Checkout
from runner.loaders.torchbench import Torchbench, Weights
from runner.workload import LoadRequest, Mode, Workload, tensors_of

FIXTURE = Path(__file__).parents[1] / "fixtures" / "checkout"
MISSING = {
    "missing_package": (
        "needs the packages kaldi_of_nowhere, sounds_of_nowhere: pip install kaldi_of_nowhere sounds_of_nowhere; "
        "and the data sounds_of_nowhere.tar.gz and the weights encoder.pth: run python install.py missing_package"
    ),
    "not_implemented": "eval is not implemented",
    "needs_data": "needs the data torchbenchmark/data/.data/pictures/one.jpg: run python install.py needs_data",
    "needs_network": r"needs the network \(pictures.example\)",
}


@pytest.fixture(autouse=True)
def imports() -> Iterator[None]:
    """Forget the checkout's packages afterwards: another test may have a checkout of its own."""
    yield
    for name in [n for n in sys.modules if n.partition(".")[0] in {"torchbenchmark", "utils"}]:
        del sys.modules[name]


def load(name: str, mode: Mode = Mode.inference, weights: Weights = Weights.random, **fields: Any) -> Workload:
    """A model of the small checkout."""
    loader = Torchbench(checkout=str(FIXTURE), weights=weights)
    return loader.load(name, LoadRequest(mode=mode, **fields))


def test_names_come_from_folders() -> None:
    """All folders are known names, `all` means the core ones, and listing them imports nothing of the checkout."""
    loader = Torchbench(checkout=str(FIXTURE))
    assert "canary" in loader.names()
    assert "canary" not in loader.listed()
    assert {"good", *MISSING} <= set(loader.listed())
    assert "torchbenchmark" not in sys.modules


def test_environment_variable_names_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """TORCHBENCH_HOME stands in for suite.checkout; an empty suite.checkout means the built-in models again."""
    monkeypatch.setenv("TORCHBENCH_HOME", str(FIXTURE))
    assert "good" in Torchbench().names()
    assert "resnet18" in Torchbench(checkout="").names()


def test_no_checkout(tmp_path: Path) -> None:
    """A folder that is no checkout is refused in one sentence."""
    with pytest.raises(UsageError, match=f"suite.checkout={tmp_path} is no checkout of pytorch/benchmark"):
        Torchbench(checkout=str(tmp_path))


def test_pretrained_needs_a_checkout() -> None:
    """The built-in models have no pretrained weights to be left alone."""
    with pytest.raises(UsageError, match="suite.weights=pretrained needs suite.checkout"):
        Torchbench(weights=Weights.pretrained)


@pytest.mark.parametrize("name", ["good", "canary"])
def test_model_of_its_own_class(name: str) -> None:
    """A model comes with its class's batch size, in the right mode, and says where it is from."""
    workload = load(name)
    assert workload.source == "torchbenchmark"
    assert workload.batch_size == 2
    assert workload.step(workload.model).output.shape == (2, 3)
    trained = load(name, Mode.training, batch_size=5)
    assert trained.batch_size == 5
    assert trained.model.training  # type: ignore[attr-defined]


def test_seed_decides_the_weights() -> None:
    """The runner's seed replaces the checkout's constant one."""
    first, again, other = (next(tensors_of(load("good", seed=seed).args)) for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)


def test_every_parameter_learns() -> None:
    """The loss of a model that ends in a softmax has a gradient that is not zero; inputs may be a dict."""
    workload = load("softmax", Mode.training)
    workload.step(workload.model)
    grads = [p.grad for p in workload.parameters().values()]
    assert all(g is not None and g.abs().max() > 1e-6 for g in grads)


def state() -> list[Any]:
    """What a model must leave as it was."""
    cudnn = torch.backends.cudnn
    switches = [cudnn.benchmark, cudnn.deterministic, torch.get_float32_matmul_precision(), torch.is_grad_enabled()]
    switches += [torch.are_deterministic_algorithms_enabled(), torch.get_default_device(), torch.manual_seed]
    return [*switches, Path.cwd(), list(sys.path), sys.argv, dict(os.environ), random.getstate()]


@pytest.mark.parametrize("name", ["careless", "broken"])
def test_nothing_is_left_changed(name: str) -> None:
    """Seeding, switches, directory, import path and environment are as before, also when the model failed."""
    before = state()
    if name == "broken":
        with pytest.raises(ValueError, match="a bug of its own"):
            load(name)
    else:
        load(name)
    assert state() == before


@pytest.mark.parametrize("name", MISSING)
def test_missing_things_are_named(name: str) -> None:
    """A missing package, mode, file or host is unsupported, and the sentence says which."""
    with pytest.raises(Unsupported, match=MISSING[name]):
        load(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="it would find its GPU")
def test_missing_gpu() -> None:
    """A constructor that wants CUDA is unsupported where there is none."""
    with pytest.raises(Unsupported, match="needs a CUDA device"):
        load("needs_cuda")


@pytest.mark.parametrize(
    ("name", "sentence"), [("fixed_batch", "has a fixed batch size of 2"), ("ignores_batch", "ignores the batch size")]
)
def test_batch_size_is_honoured_or_refused(name: str, sentence: str) -> None:
    """A batch size that the model can't or won't have is unsupported; its own is fine."""
    assert load(name).batch_size == 2
    with pytest.raises(Unsupported, match=sentence):
        load(name, batch_size=8)


def test_forward_that_differentiates() -> None:
    """A model that the checkout lists as needing grad has it in inference."""
    workload = load("needs_grad")
    assert workload.grad
    assert workload.step(workload.model).output.shape == (2, 4)


def test_no_counting() -> None:
    """A checkout's model can't be built without memory, and says so."""
    with pytest.raises(Unsupported, match="can't be counted"):
        load("good", device="meta")


@pytest.mark.parametrize("linked", [False, True])
def test_commit(tmp_path: Path, linked: bool) -> None:
    """The commit is read from a clone and from a linked work tree; an archive has none."""
    clone = tmp_path / "clone"
    (clone / "torchbenchmark" / "models").mkdir(parents=True)
    (clone / "torchbenchmark" / "models" / "note").write_text("")
    assert Checkout(clone).commit() is None
    head = committed(clone)
    git(clone, "worktree", "add", "-q", "../other")
    assert Checkout(tmp_path / "other" if linked else clone).commit() == head


def test_the_known_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone at the commit that the facts kept here are of has no flag but its own."""
    monkeypatch.setattr(Checkout, "commit", lambda self: KNOWN_COMMIT)
    assert load("good").flags == (f"checkout_{KNOWN_COMMIT[:12]}",)


def committed(folder: Path) -> str:
    """The hash of a first commit of all that is in the folder."""
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "a")
    return git(folder, "rev-parse", "HEAD").strip()


def git(folder: Path, *words: str) -> str:
    """What git says."""
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "package"),
    [("pretrained_vision", "torchvision"), ("pretrained_timm", "timm"), ("pretrained_text", "transformers")],
)
def test_random_weights(name: str, package: str) -> None:
    """Pretrained weights become random ones, from the seed and with statistics, and the row says so."""
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    workload = load(name)
    assert "random_weights" in workload.flags
    output = next(tensors_of(workload.step(workload.model).output))
    assert output.std() > 1e-3
    again = load(name)
    assert all(a.equal(b) for a, b in zip(*(w.parameters().values() for w in (workload, again)), strict=True))


@pytest.mark.models
@pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")
def test_pretrained_weights_are_not_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pretrained weights that nobody has fetched before are unsupported."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(Unsupported, match=r"needs the network \(download.pytorch.org\)"):
        load("pretrained_vision", weights=Weights.pretrained)


def test_no_token_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that want a hub's token before they are built have one where nothing is fetched, and only there."""
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    assert load("needs_token").step(load("needs_token").model).output.shape == (2, 3)
    assert "HUGGING_FACE_HUB_TOKEN" not in os.environ
    with pytest.raises(Unsupported, match="set HUGGING_FACE_HUB_TOKEN"):
        load("needs_token", weights=Weights.pretrained)


def test_rows(cli: Callable[..., Any], tmp_path: Path) -> None:
    """In a run each model has its row: the good ones say from which commit, the others what they lack."""
    clone = tmp_path / "clone"
    shutil.copytree(FIXTURE, clone, ignore=shutil.ignore_patterns("__pycache__"))
    commit = committed(clone)
    arguments = ["experiment=speedup", "backend=eager", "measure=quick", "measure.max_time_s=0.2", "hydra.run.dir=out"]
    chosen = 'select.include=["^good$","^missing_package$","^broken$"]'
    cli("suite=torchbench", f"suite.checkout={clone}", chosen, *arguments)
    with (tmp_path / "out" / "speedup.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    statuses = {name: row["status"] for name, row in rows.items()}
    assert statuses == {"good": "ok", "missing_package": "unsupported", "broken": "load_error"}
    assert rows["good"]["source"] == "torchbenchmark"
    assert {f"checkout_{commit[:12]}", "other_commit"} <= set(rows["good"]["flags"].split(";"))
    log = (tmp_path / "out" / rows["good"]["log"]).read_text()
    assert f"is at commit {commit[:12]}: what is known here" in log
