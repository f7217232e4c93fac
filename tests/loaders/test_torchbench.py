"""Suite `torchbench`: the built-in models agree with TorchBench's figures."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from runner.errors import Unsupported
from runner.loaders import _packages
from runner.loaders.torchbench import Torchbench
from runner.workload import LoadRequest, Mode, Policy, Precision, Workload, tensors_of

ROOT = Path(__file__).parents[2]
MODELS_FILE = ROOT / "conf/models/torchbench.yaml"
OWN = ("BERT_pytorch", "dcgan", "lennard_jones", "nanogpt", "phlippe_resnet")


@dataclass(frozen=True)
class Facts:
    """TorchBench's figures; shapes are without the batch dimension, which comes first in all of them."""

    training: int  # batch sizes
    inference: int
    inputs: list[tuple[int, ...]]
    outputs: list[tuple[int, ...]]
    millions: float  # parameters, rounded as in TorchBench's own listing


def _image(training: int, inference: int, millions: float) -> Facts:
    return Facts(training, inference, [(3, 224, 224)], [(1000,)], millions)


def _text(training: int, vocabulary: int, millions: float, length: int = 512) -> Facts:
    return Facts(training, 1, [(length,)], [(length, vocabulary)], millions)


FACTS = {
    "BERT_pytorch": Facts(16, 16, [(128,), (128,)], [(2,), (128, 20005)], 115.8),
    "alexnet": _image(128, 128, 61.1),
    "dcgan": Facts(32, 256, [(3, 64, 64)], [(1, 1, 1)], 2.8),
    "densenet121": _image(256, 64, 8.0),
    "hf_Albert": _text(8, 30000, 11.2),
    "hf_Bert": _text(4, 30522, 109.5),
    "hf_DistilBert": _text(8, 30522, 67.0),
    "hf_GPT2": _text(4, 50257, 124.4, length=1024),
    "lennard_jones": Facts(1000, 1000, [(1,)], [(1,)], 0.0),
    "mnasnet1_0": _image(32, 32, 4.4),
    "mobilenet_v2": _image(96, 16, 3.5),
    "nanogpt": Facts(1, 1, [(64,)], [(1, 50304)], 124.5),
    "phlippe_resnet": Facts(128, 128, [(3, 32, 32)], [(10,)], 0.3),
    "resnet18": _image(16, 8, 11.7),
    "resnet50": _image(32, 32, 25.6),
    "shufflenet_v2_x1_0": _image(128, 64, 2.3),
    "squeezenet1_1": _image(32, 16, 1.2),
    "timm_regnet": _image(32, 32, 51.8),
    "timm_vision_transformer": _image(32, 32, 22.1),
    "vgg16": _image(64, 4, 138.4),
}
EXACT = {
    "alexnet": 61_100_840,
    "hf_Bert": 109_514_298,
    "lennard_jones": 865,
    "nanogpt": 124_475_904,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "vgg16": 138_357_544,
}


def load(name: str, mode: Mode = Mode.inference, **fields: object) -> Workload:
    """A workload of the suite; skips the test when the package behind it is not installed."""
    package = {"hf_": "transformers", "timm_": "timm"}.get(name[: name.find("_") + 1], "torchvision")
    if name not in OWN and find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return Torchbench().load(name, LoadRequest(mode=mode, **fields))  # type: ignore[arg-type]


def shapes(value: object) -> list[tuple[int, ...]]:
    """Shapes of all tensors in `value`."""
    return [tuple(tensor.shape) for tensor in tensors_of(value)]


def with_batch(batch_size: int, rest: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The shapes with the batch dimension in front."""
    return [(batch_size, *shape) for shape in rest]


def dead_parameters(workload: Workload) -> list[str]:
    """Parameters that a training step left without a finite, non-zero gradient."""
    workload.step(workload.model)
    grads = {name: p.grad for name, p in workload.parameters().items()}
    return [n for n, g in grads.items() if g is None or not g.isfinite().all() or not g.any()]


def weighted_by_cost() -> list[Any]:
    """All models: three small ones as they are, two marked as chosen real ones, the others as slow."""
    marks = {"dcgan": (), "lennard_jones": (), "phlippe_resnet": (), "resnet18": "models", "nanogpt": "models"}
    names = {name: marks.get(name, "slow") for name in FACTS}
    return [pytest.param(n, marks=getattr(pytest.mark, m) if m else ()) for n, m in names.items()]


def test_names_are_listed_models() -> None:
    """The suite knows the models that conf/models/torchbench.yaml lists, in the same order."""
    listed = yaml.safe_load(MODELS_FILE.read_text(encoding="utf-8"))
    assert list(Torchbench().names()) == list(listed) == list(FACTS)


def test_models_file_is_typed() -> None:
    """Every entry of the models' file holds policy fields only."""
    for entry in yaml.safe_load(MODELS_FILE.read_text(encoding="utf-8")).values():
        Policy(**entry)


@pytest.mark.parametrize("name", FACTS)
def test_inference_figures(name: str) -> None:
    """Parameters, batch size and input shapes are TorchBench's; asking on the meta device costs no memory."""
    facts = FACTS[name]
    workload = load(name, device="meta")
    parameters = workload.parameters().values()
    assert all(p.is_meta for p in parameters)
    count = sum(p.numel() for p in parameters)
    assert round(count / 1e6, 1) == facts.millions
    assert count == EXACT.get(name, count)
    assert workload.batch_size == facts.inference
    assert shapes((workload.args, workload.kwargs)) == with_batch(facts.inference, facts.inputs)
    assert not workload.model.training  # type: ignore[attr-defined]
    assert workload.source == "builtin"


@pytest.mark.parametrize("name", [n for n in FACTS if n != "hf_GPT2"])  # its mask needs values, which meta has not
def test_output_shapes(name: str) -> None:
    """The output has the model's known shapes."""
    workload = load(name, device="meta", batch_size=1)
    assert shapes(workload.step(workload.model).output) == with_batch(1, FACTS[name].outputs)


def test_gpt2_on_cpu() -> None:
    """As in TorchBench, hf_GPT2 is given 256 tokens on a CPU; it gives logits for each."""
    workload = load("hf_GPT2")
    assert shapes(workload.kwargs) == [(1, 256)]
    assert shapes(workload.step(workload.model).output) == [(1, 256, 50257)]


@pytest.mark.parametrize("name", FACTS)
def test_training_figures(name: str) -> None:
    """In training the batch size is TorchBench's; text is 512 tokens long and comes with labels."""
    workload = load(name, Mode.training, device="meta")
    batch_size = FACTS[name].training
    assert workload.batch_size == batch_size
    assert workload.model.training  # type: ignore[attr-defined]
    if name.startswith("hf_"):
        assert shapes(workload.kwargs) == [(batch_size, 512)] * 2
    else:
        assert shapes(workload.args) == with_batch(batch_size, FACTS[name].inputs)


@pytest.mark.parametrize("name", weighted_by_cost())
def test_training_step(name: str) -> None:
    """A training step gives every parameter a gradient."""
    assert dead_parameters(load(name, Mode.training, batch_size=2)) == []


@pytest.mark.parametrize("name", weighted_by_cost())
def test_output_is_large_enough(name: str) -> None:
    """Random weights give outputs in inference whose differences from each other are well above any tolerance."""
    workload = load(name, batch_size=2)
    with torch.no_grad():
        outputs = [t.std().item() for t in tensors_of(workload.step(workload.model).output)]
    assert min(outputs) > 5e-3


def test_smaller_inference_on_cpu() -> None:
    """As in TorchBench, BERT_pytorch's inference batch is 2 on a CPU."""
    workload = load("BERT_pytorch")
    assert workload.batch_size == 2
    assert shapes(workload.args) == [(2, 128)] * 2


def test_batch_size_order() -> None:
    """A batch size that is asked for wins over the policy's, which wins over TorchBench's."""
    policy = Policy(batch_size_inference=3, batch_size_training=5)
    assert load("phlippe_resnet", policy=policy).batch_size == 3
    assert load("phlippe_resnet", Mode.training, policy=policy).batch_size == 5
    asked = load("phlippe_resnet", policy=policy, batch_size=7)
    assert asked.batch_size == 7
    assert shapes(asked.args) == [(7, 3, 32, 32)]
    assert asked.policy is policy


def test_discriminator_trains_under_autocast() -> None:
    """The loss of dcgan works in amp, where torch refuses its usual form."""
    workload = load("dcgan", Mode.training, batch_size=2).cast(Precision("amp_bf16", "bfloat16", autocast=True))
    assert dead_parameters(workload) == []


def test_fp64_loss_stays_fp64() -> None:
    """A workload cast to fp64 has a loss in fp64, as a reference needs."""
    for name in ("dcgan", "lennard_jones", "phlippe_resnet"):
        workload = load(name, Mode.training, batch_size=2).cast(Precision("fp64", "float64"))
        loss = workload.step(workload.model).loss
        assert loss is not None
        assert loss.dtype is torch.float64


@pytest.mark.parametrize("name", ["alexnet", "hf_Bert", "timm_regnet"])
def test_missing_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose package is missing is unsupported, with the pip command."""

    def missing(pip: str) -> str:
        raise PackageNotFoundError(pip)

    monkeypatch.setattr(_packages, "version", missing)
    with pytest.raises(Unsupported, match=r"^needs \w+>=[\d.]+: pip install \w+$"):
        Torchbench().load(name, LoadRequest(device="meta"))


def test_old_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is too old is named with the version that was found."""
    monkeypatch.setattr(_packages, "version", lambda _: "0.9.2")
    with pytest.raises(Unsupported, match=r"^needs timm>=1.0, found 0.9.2: pip install -U timm$"):
        _packages.require("timm", "1.0")


@pytest.mark.parametrize("name", ["resnet18", "hf_DistilBert", "timm_vision_transformer"])
def test_first_model_of_a_process(name: str) -> None:
    """Each library's models load in a process that has imported nothing yet, also beside a CPU-only torch."""
    code = (
        "from runner.loaders.torchbench import Torchbench\n"
        "from runner.workload import LoadRequest\n"
        f"Torchbench().load({name!r}, LoadRequest(device='meta'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["resnet18", "hf_GPT2", "timm_vision_transformer", "nanogpt"])
def test_no_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading opens no connection, whichever library the model comes from."""

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load(name, device="meta")
