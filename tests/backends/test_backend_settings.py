"""Keys of backends: checked against torch's own settings, and what the typed ones do to a compilation."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from runner import registry
from runner.compiling.stats import statistics
from runner.errors import Unsupported, UsageError
from runner.worker.context import checkpoint_activations
from runner.workload import Mode, Workload

NETS = Path(__file__).parent.parent / "fixtures" / "backend_nets.py"
X = torch.ones(2, 3)

INDUCTOR_BASED = ("inductor", "aot_inductor", "aot_precompile")


@pytest.fixture
def nets(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of small models."""
    spec = importlib.util.spec_from_file_location("backend_nets", NETS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "backend_nets", module)  # where its dataclass looks
    spec.loader.exec_module(module)
    return module


def graphs(action: Callable[[], Any]) -> tuple[int, int]:
    """Graphs and graph breaks that `action` gives."""
    before = statistics()
    action()
    after = statistics()
    return tuple(after[name] - before[name] for name in ("unique_graphs", "graph_breaks"))  # type: ignore[return-value]


@pytest.mark.parametrize("backend", INDUCTOR_BASED)
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"max_autotun": True}, "Did you mean: max_autotune"),
        ({"triton": {"cudagraph": True}}, "triton.cudagraphs"),
        ({"max_autotune": "yes"}, "backend.config.max_autotune=yes: inductor wants bool"),
    ],
)
def test_inductors_settings_are_checked(prepared: Any, backend: str, config: Any, words: str) -> None:
    """An unknown name gets suggestions, a value of another type the type that is wanted."""
    with pytest.raises(UsageError, match=words):
        prepared(backend, nn.Linear(3, 3), X, config=config)


def test_inductors_settings_are_set(prepared: Any) -> None:
    """Those of `config`, nested or not, and freezing."""
    from torch._inductor import config

    given = {"triton": {"cudagraph_trees": False}, "max-autotune": True}
    prepared("inductor", nn.Linear(3, 3), X, config=given, freezing=True)
    assert (config.triton.cudagraph_trees, config.max_autotune, config.freezing) == (False, True, True)


@pytest.mark.parametrize("backend", ["inductor", "aot_precompile"])
def test_freezing_is_for_inference(prepared: Any, backend: str) -> None:
    """Weights that are constants can't be trained."""
    with pytest.raises(Unsupported, match=r"backend\.freezing makes constants"):
        prepared(backend, nn.Linear(3, 3), X, training=True, freezing=True)


def test_modes(prepared: Any) -> None:
    """An unknown one gets suggestions; one with CUDA graphs is nothing for a package."""
    with pytest.raises(UsageError, match="Did you mean: max-autotune"):
        prepared("inductor", nn.Linear(3, 3), X, mode="max-autotun")
    with pytest.raises(UsageError, match="records no CUDA graphs"):
        prepared("aot_inductor", nn.Linear(3, 3), X, mode="reduce-overhead")


class Power(nn.Module):
    """Takes an integer."""

    def forward(self, x: torch.Tensor, n: int) -> torch.Tensor:
        """`x` times `n`, plus `n`."""
        return x * n + n


class Item(nn.Module):
    """Makes a Python number of a tensor."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` times its sum."""
        return x * x.sum().item()


class Choice(nn.Module):
    """Looks at such a number."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` or its negative."""
        return x + 1 if x.sum().item() > 0 else -x


@pytest.mark.parametrize(("given", "expected"), [(None, 2), (True, 4)])
def test_specialize_int(prepared: Any, given: bool | None, expected: int) -> None:
    """A program for each integer, instead of one that takes any from the second on."""
    candidate = prepared("dynamo", Power(), X, 2, specialize_int=given)
    assert graphs(lambda: [candidate(X, n) for n in (2, 3, 4, 5)]) == (expected, 0)


@pytest.mark.parametrize(
    ("model", "keys", "expected"),
    [
        (Item, {}, (2, 1)),
        (Item, {"capture_scalar_outputs": True}, (1, 0)),
        (Choice, {"capture_scalar_outputs": True}, (2, 0)),
        (Choice, {"propagate_real_tensors": True}, (1, 0)),
    ],
)
def test_numbers_from_tensors(prepared: Any, model: type[nn.Module], keys: dict[str, bool], expected: Any) -> None:
    """They break the graph or are captured; what depends on them ends the graph or is looked up in the data."""
    eager = model()
    candidate = prepared("dynamo", eager, X, **keys)
    assert graphs(lambda: candidate(X)) == expected
    assert torch.equal(candidate(X), eager(X))


def test_compiled_autograd_is_the_candidates_own() -> None:
    """Its backward pass is captured, with eager's gradients; eager's own is not."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    workload = Workload("tiny", model, (torch.randn(2, 3),), mode=Mode.training)
    backend = registry.build(
        {"_target_": registry.target("backend", "dynamo"), "name": "aot_eager", "compiled_autograd": True}
    )
    candidate = backend.prepare(workload)

    def captures(f: Callable[..., Any]) -> int:
        before = statistics()["autograd_captures"]
        workload.step(f)
        return int(statistics()["autograd_captures"] - before)

    assert captures(candidate) == 1
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    assert captures(model) == 0
    for mine, eager in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(mine, eager.grad)


def test_compiled_autograd_is_for_training(prepared: Any) -> None:
    """Without a backward pass there is nothing to capture."""
    with pytest.raises(Unsupported, match="use mode=training"):
        prepared("inductor", nn.Linear(3, 3), X, compiled_autograd=True)


@pytest.mark.parametrize(
    ("backend", "keys", "module", "pip_name"),
    [
        ("dynamo", {"name": "tvm"}, "tvm", "apache-tvm"),
        ("tensorrt", {}, "torch_tensorrt", "torch-tensorrt"),
        ("torchao", {}, "torchao", "torchao"),
    ],
)
def test_packages(
    prepared: Any, monkeypatch: pytest.MonkeyPatch, backend: str, keys: Any, module: str, pip_name: str
) -> None:
    """The pip command of one that isn't installed is in the sentence."""
    monkeypatch.setattr(importlib, "import_module", absent(module))
    with pytest.raises(Unsupported, match=f"needs the package {module}: pip install {pip_name}"):
        prepared(backend, nn.Linear(3, 3), X, **keys)


def absent(module: str) -> Callable[..., Any]:
    """importlib.import_module where `module` isn't installed."""
    real = importlib.import_module

    def import_module(name: str, package: str | None = None) -> Any:
        if name == module:
            raise ModuleNotFoundError(name=name)
        return real(name, package)

    return import_module


@pytest.mark.parametrize("backend", ["nativert", "torchao", "xla", "tensorrt", "aot_inductor"])
def test_inference_only(prepared: Any, backend: str) -> None:
    """What makes no backward pass says so, before it looks for its package."""
    with pytest.raises(Unsupported, match="without a backward pass: use mode=inference"):
        prepared(backend, nn.Linear(3, 3), X, training=True)


@pytest.mark.filterwarnings("ignore:The TorchScript type system:UserWarning")
@pytest.mark.parametrize("name", ["ts", "aot_ts"])
def test_torchscript_below_dynamo(prepared: Any, name: str) -> None:
    """TorchScript compiles the source of dynamo's graphs, which aren't lazy for it."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    with torch.no_grad():
        assert torch.equal(prepared("dynamo", model, X, name=name)(X), model(X))


def test_activation_checkpointing(nets: ModuleType) -> None:
    """The model's own switch is used; a model without one is named."""
    model = nets.Plain()
    checkpoint_activations(Workload("plain", model, mode=Mode.training))
    assert model.dropped == 1
    with pytest.raises(Unsupported, match="net has no activation checkpointing"):
        checkpoint_activations(Workload("net", nets.Net(), mode=Mode.training))


@pytest.mark.parametrize("keys", [{"strict": False}, {"strict": True}])
def test_exported_programs_share_the_models_state(prepared: Any, nets: ModuleType, keys: dict[str, bool]) -> None:
    """Weights that change change the program's output; so do dropout rates."""
    model = nets.Net().train()
    given = model.get_example_inputs()
    candidate = prepared("export", model, training=True, **keys)
    model.dropout.p = 0.0
    with torch.no_grad():
        assert torch.equal(candidate(**given).logits, model(**given).logits)
        model.last.weight.mul_(2)
        assert torch.equal(candidate(**given).logits, model(**given).logits)
        model.dropout.p = 0.999999
        assert torch.equal(candidate(**given).hidden[0], torch.zeros(4, 64))


@pytest.mark.parametrize("method", ["trace", "script"])
def test_torchscript(prepared: Any, nets: ModuleType, method: str) -> None:
    """A plain model goes in by either method, and what it gives is a tensor."""
    model = nets.Plain()
    given = model.get_example_inputs()
    candidate = prepared("torchscript", model, *given, method=method)
    with torch.no_grad():
        assert torch.equal(candidate(*given), model(*given))


def test_a_function_can_be_exported(prepared: Any) -> None:
    """It's wrapped in a module."""
    assert torch.equal(prepared("export", torch.cos, X)(X), X.cos())
