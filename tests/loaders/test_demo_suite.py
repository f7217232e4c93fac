"""Suite `demo`, and what holds for every built-in model of our own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from runner.loaders import Loader
from runner.loaders.demo import Demo
from runner.loaders.torchbench import Torchbench
from runner.workload import LoadRequest, Mode, Workload, tensors_of

ROOT = Path(__file__).parents[2]
SMALL = [
    *((Demo(), name) for name in Demo().names()),
    *((Torchbench(), name) for name in ("dcgan", "lennard_jones", "phlippe_resnet")),
]


def load(loader: Loader, name: str, mode: Mode = Mode.inference, seed: int = 0) -> Workload:
    """A workload with a batch of two."""
    return loader.load(name, LoadRequest(mode=mode, batch_size=2, seed=seed))


def weights_and_inputs(workload: Workload) -> Iterator[torch.Tensor]:
    """Everything that the seed decides."""
    yield from workload.parameters().values()
    yield from workload.buffers().values()
    yield from tensors_of((workload.args, workload.kwargs))


def test_names_import_no_torch() -> None:
    """The names of all three suites are known without torch and without the models' modules."""
    code = (
        "import sys\n"
        "from runner.loaders.demo import Demo\n"
        "from runner.loaders.module import Module\n"
        "from runner.loaders.torchbench import Torchbench\n"
        "assert Demo().names() and Torchbench().names()\n"
        f"assert Module(path={__file__!r}, class_name='Net').names() == ('Net',)\n"
        "print([m for m in sys.modules if m.partition('.')[0] in ('torch', 'torchvision', 'timm', 'transformers')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_models_file_lists_the_suite() -> None:
    """conf/models/demo.yaml lists the suite's models."""
    assert list(yaml.safe_load((ROOT / "conf/models/demo.yaml").read_text(encoding="utf-8"))) == list(Demo().names())


@pytest.mark.parametrize("name", Demo().names())
def test_inference(name: str) -> None:
    """A demo model gives finite logits for each sample of its default batch, and the same ones twice."""
    workload = Demo().load(name, LoadRequest())
    first = workload.step(workload.model).output
    assert first.shape[0] == workload.batch_size
    assert first.isfinite().all()
    assert torch.equal(first, workload.step(workload.model).output)


@pytest.mark.parametrize("name", Demo().names())
def test_training_changes_every_parameter(name: str) -> None:
    """A training step gives every parameter a gradient, and a few of them bring the loss down."""
    workload = load(Demo(), name, Mode.training)
    workload.optimizer = torch.optim.SGD(workload.parameters().values(), lr=0.01)
    losses = [workload.step(workload.model).loss for _ in range(5)]
    assert all(p.grad is not None and p.grad.any() for p in workload.parameters().values())
    assert losses[-1] < losses[0]  # type: ignore[operator]


@pytest.mark.parametrize(("loader", "name"), SMALL)
def test_same_seed(loader: Loader, name: str) -> None:
    """The same seed gives the same weights, inputs and loss, whatever the global generator's state."""
    torch.manual_seed(1)
    first = load(loader, name, Mode.training)
    torch.manual_seed(2)
    second = load(loader, name, Mode.training)
    pairs = zip(weights_and_inputs(first), weights_and_inputs(second), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert torch.equal(first.step(first.model).loss, second.step(second.model).loss)  # type: ignore[arg-type]


@pytest.mark.parametrize(("loader", "name"), SMALL)
def test_other_seed(loader: Loader, name: str) -> None:
    """Another seed gives other weights and other inputs."""
    first, second = load(loader, name, seed=0), load(loader, name, seed=1)
    pairs = [
        *zip(first.parameters().values(), second.parameters().values(), strict=True),
        (first.args[0], second.args[0]),
    ]
    drawn = [(a, b) for a, b in pairs if a.unique().numel() > 1]
    assert not any(torch.equal(a, b) for a, b in drawn)


def test_global_generator_is_left_alone() -> None:
    """Loading does not move torch's global generator."""
    before = torch.get_rng_state()
    load(Demo(), "mlp")
    assert torch.equal(before, torch.get_rng_state())
