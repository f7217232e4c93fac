"""Suite `module`: a model from a user's own file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from runner.errors import Unsupported, UsageError
from runner.loaders.module import Module
from runner.workload import LoadRequest, Mode, Policy

NET = """
import torch
from helper_of_net import WIDTH

class Net(torch.nn.Module):
    def __init__(self, width=WIDTH):
        super().__init__()
        self.layer = torch.nn.Linear(width, 2)

    def forward(self, x):
        return self.layer(x)

    def get_example_inputs(self):
        return (torch.randn(3, self.layer.in_features),)

class Sized(Net):
    def __init__(self, batch_size=4):
        super().__init__()
        self.batch_size = batch_size

    def get_example_inputs(self):
        return {"x": torch.randn(self.batch_size, self.layer.in_features)}

    def compute_loss(self, output):
        return output.pow(2).sum()

class Listed(Net):
    def get_example_inputs(self):
        return list(super().get_example_inputs())

class Bare(Net):
    def get_example_inputs(self):
        return torch.randn(3, 4)

class NoInputs(torch.nn.Module):
    pass

class Broken(Net):
    def __init__(self):
        raise ZeroDivisionError("from the constructor")

class Function:
    def __call__(self, x):
        return x + 1

    def get_example_inputs(self):
        return (torch.zeros(2),)

class Differentiated(Net):
    def get_example_inputs(self):
        return (torch.randn(3, self.layer.in_features, requires_grad=True),)
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A file with several models, and a helper beside it."""
    (tmp_path / "helper_of_net.py").write_text("WIDTH = 8\n", encoding="utf-8")
    path = tmp_path / "net.py"
    path.write_text(NET, encoding="utf-8")
    return path


def load(path: Path, name: str, request: LoadRequest | None = None, **kwargs: object) -> object:
    """The workload of class `name` in `path`, its constructor given `kwargs`."""
    return Module(str(path), name, kwargs).load(name, request or LoadRequest())


def test_arguments_reach_the_constructor(net: Path) -> None:
    """The constructor gets `suite.kwargs`, the model its own example inputs as positional arguments."""
    workload = load(net, "Net", width=5)
    assert workload.name == "Net"
    assert workload.source == "module"
    assert workload.batch_size is None
    assert [tuple(t.shape) for t in workload.args] == [(3, 5)]
    assert workload.step(workload.model).output.shape == (3, 2)
    assert not workload.model.training


def test_inputs_as_list_and_dict(net: Path) -> None:
    """A list is positional arguments, a dict keyword arguments."""
    assert load(net, "Listed").args[0].shape == (3, 8)
    sized = load(net, "Sized")
    assert sized.args == ()
    assert sized.kwargs["x"].shape == (4, 8)


def test_training_uses_own_loss(net: Path) -> None:
    """`compute_loss` is the loss where the class has one, else the mean of the output."""
    training = LoadRequest(mode=Mode.training)
    own = load(net, "Sized", training)
    step = own.step(own.model)
    torch.testing.assert_close(step.loss, step.output.pow(2).sum())
    assert own.model.training
    plain = load(net, "Net", training)
    step = plain.step(plain.model)
    torch.testing.assert_close(step.loss, step.output.mean())


def test_batch_size(net: Path) -> None:
    """A batch size that is asked for reaches the constructor; the model's own is recorded."""
    assert load(net, "Sized").batch_size == 4
    asked = load(net, "Sized", LoadRequest(batch_size=6))
    assert asked.batch_size == 6
    assert asked.kwargs["x"].shape == (6, 8)
    assert load(net, "Sized", LoadRequest(policy=Policy(batch_size_inference=5))).batch_size == 5


def test_batch_size_is_refused(net: Path) -> None:
    """A batch size is refused where the constructor has no parameter for it."""
    with pytest.raises(Unsupported, match="constructor of Net takes no batch_size"):
        load(net, "Net", LoadRequest(batch_size=6))


def test_same_seed(net: Path) -> None:
    """The seed decides weights and inputs."""
    first, same, other = (load(net, "Net", LoadRequest(seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first.model.layer.weight, same.model.layer.weight)
    assert torch.equal(first.args[0], same.args[0])
    assert not torch.equal(first.model.layer.weight, other.model.layer.weight)
    assert not torch.equal(first.args[0], other.args[0])


def test_inputs_that_require_grad(net: Path) -> None:
    """An input that requires grad is a leaf that requires grad on the device."""
    workload = load(net, "Differentiated", LoadRequest(device="meta"))
    assert workload.args[0].is_leaf
    assert workload.args[0].requires_grad
    assert workload.args[0].is_meta


def test_plain_callable(net: Path) -> None:
    """A class that is no torch module works in inference."""
    workload = load(net, "Function")
    assert workload.step(workload.model).output.tolist() == [1, 1]


def test_path_is_absolute(net: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A relative path is resolved when the loader is made; it loads from another working directory."""
    monkeypatch.chdir(net.parent)
    loader = Module("net.py", "Net")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert loader.path == str(net)
    assert loader.names() == ("Net",)
    assert loader.load("Net", LoadRequest()).batch_size is None


def test_search_path_is_restored(net: Path) -> None:
    """The file's folder is importable while loading and not afterwards, also when loading fails."""
    before = list(sys.path)
    load(net, "Net")
    with pytest.raises(ZeroDivisionError):
        load(net, "Broken")
    assert sys.path == before


def test_names_are_checked(tmp_path: Path) -> None:
    """Without a path or a class, or with a file that is none, the parent says what to give."""
    with pytest.raises(UsageError, match=r"needs both suite.path=FILE.py and suite.class_name=NAME"):
        Module().names()
    with pytest.raises(UsageError, match=r"needs both"):
        Module(path="net.py").names()
    with pytest.raises(UsageError, match=r"suite\.path: there is no file '.*none\.py'"):
        Module(str(tmp_path / "none.py"), "Net").names()
    with pytest.raises(UsageError, match=r"must be a Python file \(\*.py\), and '.*' is not"):
        Module(str(tmp_path), "Net").names()


def test_model_errors_pass_through(net: Path) -> None:
    """What the model's own code raises is what the caller sees."""
    with pytest.raises(ZeroDivisionError, match="from the constructor"):
        load(net, "Broken")
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        load(net, "Net", depth=3)
    with pytest.raises(AttributeError, match="get_example_inputs"):
        load(net, "NoInputs")
    with pytest.raises(TypeError, match=r"Bare.get_example_inputs\(\) returned Tensor; it must return a tuple or list"):
        load(net, "Bare")


def test_unknown_class(net: Path) -> None:
    """A class that the file does not define is named beside those that it does."""
    with pytest.raises(AttributeError, match=r"net.py defines no 'Nett'; its classes: Net, Sized"):
        load(net, "Nett")


def test_error_at_import(tmp_path: Path) -> None:
    """A file that fails on import leaves nothing behind in `sys.modules`."""
    path = tmp_path / "failing.py"
    path.write_text("import no_such_package", encoding="utf-8")
    before = set(sys.modules)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        load(path, "Net")
    assert not [name for name in set(sys.modules) - before if "failing" in name]


def test_file_named_like_a_package(tmp_path: Path) -> None:
    """A file called torch.py is loaded as the model's file and hides nothing."""
    (tmp_path / "helper_of_net.py").write_text("WIDTH = 8\n", encoding="utf-8")
    path = tmp_path / "random.py"
    path.write_text(NET, encoding="utf-8")
    assert load(path, "Net").batch_size is None
    assert "seed" in dir(__import__("random"))


def test_compiled_module(net: Path) -> None:
    """Dynamo finds the model's module and captures it in one graph."""
    code = (
        "import torch\n"
        "from runner.loaders.module import Module\n"
        "from runner.workload import LoadRequest\n"
        f"w = Module({str(net)!r}, 'Net').load('Net', LoadRequest())\n"
        "print(tuple(w.step(torch.compile(w.model, backend='eager', fullgraph=True)).output.shape))"
    )
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(3, 2)"
