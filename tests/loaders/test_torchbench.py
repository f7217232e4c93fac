"""Suite `torchbench`: the built-in models agree with TorchBench's figures."""

from __future__ import annotations

import csv
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from torch._subclasses import FakeTensorMode

from runner.errors import Unsupported
from runner.loaders import _packages, torchbench
from runner.loaders._building import Draw, Order
from runner.loaders.builtin import transformers_models
from runner.loaders.torchbench import Torchbench
from runner.workload import LoadRequest, Mode, Policy, Precision, Workload, map_tensors, tensors_of

ROOT = Path(__file__).parents[2]
MODELS_FILE = ROOT / "conf/models/torchbench.yaml"
LIBRARIES = {
    "hf_": "transformers",
    "llama_v2": "transformers",
    "moondream": "transformers",
    "stable_diffusion_text_encoder": "transformers",
    "timm_": "timm",
}
TORCHVISION = (
    *("alexnet", "densenet121", "functorch_dp_cifar10", "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_large", "resnet152"),
    *("resnet18", "resnet50", "resnext50_32x4d", "shufflenet_v2_x1_0", "squeezenet1_1", "vgg16"),
)


@dataclass(frozen=True)
class Facts:
    """TorchBench's figures for a batch of one; in all other batches the first dimension is that much larger."""

    training: int | None  # batch sizes
    inference: int
    inputs: list[tuple[int, ...]]
    outputs: list[tuple[int, ...]]
    millions: float  # parameters, rounded as in TorchBench's own listing
    training_inputs: list[tuple[int, ...]] | None = None  # where they differ


def _image(training: int, inference: int, millions: float, size: int = 224) -> Facts:
    return Facts(training, inference, [(1, 3, size, size)], [(1, 1000)], millions)


def _text(training: int | None, vocabulary: int, millions: float, length: int = 512, trained: int = 512) -> Facts:
    """With labels beside the tokens in training."""
    inputs, outputs = [(1, length)], [(1, length, vocabulary)]
    return Facts(training, 1, inputs, outputs, millions, [(1, trained)] * 2)


def _two_sided(training: int, vocabulary: int, width: int, millions: float, lengths: tuple[int, int]) -> Facts:
    """A model with an encoder, whose output is given too; lengths in training and inference."""
    trained, length = lengths
    outputs = [(1, length, vocabulary), (1, length, width)]
    return Facts(training, 1, [(1, length)] * 2, outputs, millions, [(1, trained)] * 2)


def _graph(parameters: int) -> Facts:
    return Facts(1, 1, [(10_000, 64), (2, 200_000)], [(10_000, 64)], round(parameters / 1e6, 1))


_SOUND = [(1, 80, 3000)]
_CLIP_INPUTS = [(1, 6), (1, 6), (1, 3, 224, 224)]
_CLIP_OUTPUTS = [(1, 1), (1, 1), (1, 512), (1, 512)]  # and those of its parts
_DLRM_INPUTS = [(1, 512), (8, 1), *[(100,)] * 8]
FACTS = {
    "BERT_pytorch": Facts(16, 16, [(1, 128), (1, 128)], [(1, 2), (1, 128, 20005)], 115.8),
    "LearningToPaint": Facts(96, 96, [(1, 9, 128, 128)], [(1, 65)], 11.2),
    "alexnet": _image(128, 128, 61.1),
    "basic_gnn_edgecnn": _graph(37_248),
    "basic_gnn_gcn": _graph(12_480),
    "basic_gnn_gin": _graph(24_960),
    "basic_gnn_sage": _graph(24_768),
    "dcgan": Facts(32, 256, [(1, 3, 64, 64)], [(1, 1, 1, 1)], 2.8),
    "densenet121": _image(256, 64, 8.0),
    "dlrm": Facts(2048, 2048, _DLRM_INPUTS, [(1, 1)], 514.5),
    "functorch_dp_cifar10": _image(64, 64, 11.7, size=32),
    "functorch_maml_omniglot": Facts(1, 1, [(5, 1, 28, 28)], [(5, 5)], 0.1),
    "hf_Albert": _text(8, 30000, 11.2),
    "hf_Bart": _two_sided(4, 50265, 768, 139.4, (512, 512)),
    "hf_Bert": _text(4, 30522, 109.5),
    "hf_Bert_large": _text(4, 30522, 284.8),
    "hf_BigBird": _text(2, 50358, 128.1, length=4096, trained=1024),
    "hf_DistilBert": _text(8, 30522, 67.0),
    "hf_GPT2": _text(4, 50257, 124.4, length=1024),
    "hf_GPT2_large": _text(4, 50257, 774.0, length=1024),
    "hf_Longformer": _text(2, 50265, 148.7, length=4096, trained=1024),
    "hf_Reformer": _text(8, 320, 6.0, length=4096, trained=4096),
    "hf_Roberta_base": _text(4, 250_002, 278.3),
    "hf_T5": _two_sided(8, 32128, 512, 60.5, (1024, 2048)),
    "hf_T5_base": _two_sided(8, 32128, 768, 222.9, (1024, 2048)),
    "hf_T5_generate": Facts(None, 1, [(1, 2048)], [(1, 257)], 60.5),
    "hf_T5_large": _two_sided(2, 32128, 1024, 737.7, (512, 512)),
    "hf_Whisper": Facts(8, 8, _SOUND, [(1, 2)], 8.3, [*_SOUND, (1,)]),
    "hf_clip": Facts(32, 32, _CLIP_INPUTS, _CLIP_OUTPUTS, 151.3),
    "hf_distil_whisper": Facts(8, 1, _SOUND, [(1, 2)], 307.5, [*_SOUND, (1,)]),
    "lennard_jones": Facts(1000, 1000, [(1, 1)], [(1, 1)], 0.0),
    "llama": Facts(None, 32, [(1, 32)], [(1, 32000)], 60.0),
    "llama_v2_7b_16h": _text(1, 32000, 3500.3, trained=128),
    "microbench_unbacked_tolist_sum": Facts(None, 1, [(1,), (1000,), (1000,)], [(1,)], 0.0),
    "mnasnet1_0": _image(32, 32, 4.4),
    "mobilenet_v2": _image(96, 16, 3.5),
    "mobilenet_v3_large": _image(32, 32, 5.5),
    "moondream": _text(None, 51200, 1418.3),
    "nanogpt": Facts(1, 1, [(1, 64)], [(1, 1, 50304)], 124.5),
    "nvidia_deeprecommender": Facts(256, 256, [(1, 197_951)], [(1, 197_951)], 204.5),
    "phlippe_densenet": Facts(128, 128, [(1, 3, 32, 32)], [(1, 10)], 0.2),
    "phlippe_resnet": Facts(128, 128, [(1, 3, 32, 32)], [(1, 10)], 0.3),
    "pytorch_CycleGAN_and_pix2pix": Facts(1, 1, [(1, 3, 256, 256)], [(1, 3, 256, 256)], 11.4),
    "pytorch_unet": Facts(1, 1, [(1, 3, 640, 959)], [(1, 2, 640, 959)], 17.3),
    "resnet152": _image(32, 32, 60.2),
    "resnet18": _image(16, 8, 11.7),
    "resnet50": _image(32, 32, 25.6),
    "resnext50_32x4d": _image(8, 8, 25.0),
    "shufflenet_v2_x1_0": _image(128, 64, 2.3),
    "soft_actor_critic": Facts(256, 256, [(1, 3)], [(1, 1), (1, 1)], 1.1),
    "squeezenet1_1": _image(32, 16, 1.2),
    "stable_diffusion_text_encoder": Facts(None, 1, [(1, 10)], [(1, 10, 1024), (1, 1024)], 340.4),
    "timm_efficientnet": _image(32, 64, 5.3),
    "timm_nfnet": _image(128, 128, 71.5, size=192),
    "timm_regnet": _image(32, 32, 51.8),
    "timm_resnest": _image(32, 32, 10.6),
    "timm_vision_transformer": _image(32, 32, 22.1),
    "timm_vision_transformer_large": _image(32, 32, 1012.6),
    "timm_vovnet": _image(32, 32, 22.6),
    "tts_angular": Facts(64, 64, [(1, 50, 40)], [(1, 256)], 9.4),
    "vgg16": _image(64, 4, 138.4),
}
EXACT = {
    "alexnet": 61_100_840,
    "basic_gnn_edgecnn": 37_248,
    "basic_gnn_gcn": 12_480,
    "basic_gnn_gin": 24_960,
    "basic_gnn_sage": 24_768,
    "hf_Bert": 109_514_298,
    "lennard_jones": 865,
    "nanogpt": 124_475_904,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "vgg16": 138_357_544,
}
#: Their forward pass reads values out of tensors, which have none without a run.
NEEDS_VALUES = {"hf_Longformer", "hf_Reformer", "hf_T5_generate", "microbench_unbacked_tolist_sum"}
#: Theirs asks whether a mask is all true, which tensors on the meta device can't tell.
LOOKS_AT_MASK = {
    *("hf_Bart", "hf_BigBird", "hf_GPT2", "hf_GPT2_large", "hf_clip", "llama_v2_7b_16h", "moondream"),
}
#: Parameters without a gradient: a pooler that masked language modelling doesn't use, attention without global tokens.
UNREACHED = {"hf_BigBird": "pooler", "hf_Longformer": "_global"}
#: A few thousand operations at most.
LIGHT = {
    *("basic_gnn_gcn", "dcgan", "functorch_maml_omniglot", "lennard_jones", "microbench_unbacked_tolist_sum"),
    *("phlippe_resnet", "soft_actor_critic"),
}
#: More than a test may take of the machine: a minute or 4 GB.
HEAVY = {"dlrm", "hf_GPT2_large", "hf_T5_base", "hf_T5_large", "llama_v2_7b_16h", "moondream", "timm_vision_transformer_large"}


def load(name: str, mode: Mode = Mode.inference, **fields: object) -> Workload:
    """A workload of the suite; skips the test when the package behind it is not installed."""
    package = next((package for start, package in LIBRARIES.items() if name.startswith(start)), "torchvision")
    if (package != "torchvision" or name in TORCHVISION) and find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return Torchbench().load(name, LoadRequest(mode=mode, **fields))  # type: ignore[arg-type]


def shapes(value: object) -> list[tuple[int, ...]]:
    """Shapes of all tensors in `value`."""
    return [tuple(tensor.shape) for tensor in tensors_of(value)]


def output_without_memory(workload: Workload) -> Any:
    """What the model gives, computed with shapes only."""
    mode = FakeTensorMode()
    fake = mode.from_tensor
    state = {name: fake(t) for name, t in {**workload.parameters(), **workload.buffers()}.items()}
    args, kwargs = map_tensors(fake, (workload.args, workload.kwargs))
    with mode, torch.no_grad():
        return torch.func.functional_call(workload.model, state, args, kwargs)  # type: ignore[arg-type]


def dead_parameters(workload: Workload) -> list[str]:
    """Parameters that a training step left without a finite, non-zero gradient."""
    workload.step(workload.model)
    grads = {name: p.grad for name, p in workload.parameters().items() if p.requires_grad}
    return [n for n, g in grads.items() if g is None or not g.isfinite().all() or not g.any()]


def weighted_by_cost(trained: bool = False) -> list[Any]:
    """All models but the heavy ones: light ones as they are, two marked as chosen real ones, the others as slow."""
    marks = {**dict.fromkeys(LIGHT, ()), "resnet18": "models", "nanogpt": "models"}
    names = [n for n in FACTS if n not in HEAVY and (FACTS[n].training or not trained)]
    chosen = {name: marks.get(name, "slow") for name in names}
    return [pytest.param(n, marks=getattr(pytest.mark, m) if m else ()) for n, m in chosen.items()]


def test_names_are_listed_models() -> None:
    """The suite knows more than fifty models, and those are what conf/models/torchbench.yaml lists."""
    listed = yaml.safe_load(MODELS_FILE.read_text(encoding="utf-8"))
    assert list(Torchbench().names()) == list(FACTS)
    assert set(FACTS) <= set(listed)
    assert len(FACTS) > 50


def test_models_file_is_typed() -> None:
    """Every entry of the models' file holds policy fields only."""
    for entry in yaml.safe_load(MODELS_FILE.read_text(encoding="utf-8")).values():
        Policy(**{key: value for key, value in entry.items() if key != "where"})


def test_batch_sizes() -> None:
    """Batch sizes are TorchBench's; a model that it does not train has none for training."""
    entries = torchbench.CATALOGUE
    assert {n: (e.training, e.inference) for n, e in entries.items()} == {
        name: (facts.training, facts.inference) for name, facts in FACTS.items()
    }
    assert load("phlippe_resnet").batch_size == 128
    assert load("dcgan", Mode.training).batch_size == 32


@pytest.mark.parametrize("name", FACTS)
def test_inference_figures(name: str) -> None:
    """Parameters and shapes are TorchBench's; asking on the meta device costs no memory."""
    facts = FACTS[name]
    workload = load(name, device="meta", batch_size=1)
    parameters = workload.parameters().values()
    assert all(p.is_meta for p in parameters)
    count = sum(p.numel() for p in parameters)
    assert round(count / 1e6, 1) == facts.millions
    assert count == EXACT.get(name, count)
    assert not workload.model.training  # type: ignore[attr-defined]
    assert workload.source == "builtin"
    assert shapes((workload.args, workload.kwargs)) == facts.inputs
    if name not in NEEDS_VALUES:
        step = output_without_memory(workload) if name in LOOKS_AT_MASK else workload.step(workload.model).output
        assert shapes(step)[: len(facts.outputs)] == facts.outputs


@pytest.mark.parametrize("name", [n if n in LIGHT else pytest.param(n, marks=pytest.mark.slow) for n in sorted(NEEDS_VALUES)])
def test_output_shapes_on_cpu(name: str) -> None:
    """So has it where that takes a real run, whose text is shorter on a CPU."""
    workload = load(name, batch_size=1)
    lengths = {"hf_Longformer": 512, "hf_Reformer": 2048}
    wanted = [(1, lengths[name], *shape[2:]) if name in lengths else shape for shape in FACTS[name].outputs]
    assert shapes(workload.step(workload.model).output) == wanted


@pytest.mark.parametrize(
    ("name", "length"), [("hf_BigBird", 819), ("hf_GPT2", 256), ("hf_Longformer", 512), ("hf_T5", 512)]
)
def test_shorter_inference_on_cpu(name: str, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in TorchBench, long texts are cut on a CPU, in inference only."""
    seen: list[Any] = []
    build = torchbench.CATALOGUE[name].build.partition(":")[2]
    monkeypatch.setattr(transformers_models, "_make", lambda *_: SimpleNamespace(config=SimpleNamespace(vocab_size=9)))
    for training in (False, True):
        draw = Draw(0, "cpu")
        order = Order(training=training, batch_size=1, device="cpu", draw=draw)
        seen.append(getattr(transformers_models, build)(order, **torchbench.CATALOGUE[name].options).kwargs)
    assert seen[0]["input_ids"].shape == (1, length)
    assert shapes(seen[1]) == FACTS[name].training_inputs


@pytest.mark.parametrize("name", [name for name, facts in FACTS.items() if facts.training is None])
def test_inference_only(name: str) -> None:
    """Models that TorchBench does not train are unsupported in training, before anything is built."""
    with pytest.raises(Unsupported, match=f"{name} is for inference only: use mode=inference"):
        load(name, Mode.training)


@pytest.mark.parametrize("name", [name for name, facts in FACTS.items() if facts.training_inputs and facts.training])
def test_training_shapes(name: str) -> None:
    """In training labels come beside the input, and long texts are shorter."""
    workload = load(name, Mode.training, device="meta", batch_size=1)
    assert workload.model.training  # type: ignore[attr-defined]
    assert shapes((workload.args, workload.kwargs)) == FACTS[name].training_inputs


@pytest.mark.parametrize("name", weighted_by_cost(trained=True))
def test_training_step(name: str) -> None:
    """A training step gives every parameter a gradient, but those that the architecture never reaches."""
    dead = dead_parameters(load(name, Mode.training, batch_size=2))
    assert [parameter for parameter in dead if not re.search(UNREACHED.get(name, "^$"), parameter)] == []


@pytest.mark.parametrize("name", [p for p in weighted_by_cost() if p.values[0] != "hf_T5_generate"])  # gives words
def test_output_is_large_enough(name: str) -> None:
    """Random weights give outputs in inference whose differences from each other are well above any tolerance."""
    workload = load(name, batch_size=2)
    with torch.no_grad():
        outputs = tensors_of(workload.step(workload.model).output)
        assert all((t.std() / t.abs().max()).item() > 5e-3 and t.abs().max() > 5e-3 for t in outputs if t.numel() > 1)


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


@pytest.mark.parametrize("precision", ["amp_bf16", "bf16"])
def test_discriminator_stays_trainable(precision: str) -> None:
    """After twenty steps no probability of dcgan is at an end, and every parameter still has a gradient to speak of."""
    workload = load("dcgan", Mode.training, batch_size=4)
    workload = workload.cast(Precision(precision, "bfloat16", autocast=precision.startswith("amp")))
    workload.optimizer = torch.optim.SGD(workload.parameters().values(), lr=0.01)
    for _ in range(20):
        output = workload.step(workload.model).output
    assert output.min() > 0.02
    assert output.max() < 0.98
    largest = [p.grad.abs().max().item() for p in workload.parameters().values() if p.grad is not None]
    assert len(largest) == len(workload.parameters())
    assert min(largest) > 1e-6


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


def test_a_run(cli: Any, tmp_path: Path) -> None:
    """The smallest model is measured at the suite's batch size and gets a row that says where it is from."""
    few = ("measure=quick", "measure.max_pairs=10", "measure.warmup_max_pairs=3", "measure.retry_unconverged=0")
    done = cli("suite=torchbench", "model=lennard_jones", "backend=eager", "device=cpu", *few, "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "speedup.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    keys = ("name", "source", "batch_size", "status", "accuracy")
    assert [row[key] for key in keys] == ["lennard_jones", "builtin", "1000", "ok", "pass"]
    assert float(row["eager_latency"]) > 0
