"""Suite `module`: a model of one's own from a Python file, without any code in this project.

For example: python -m runner suite=module suite.path=net.py suite.class_name=Net 'suite.kwargs={width: 8}'
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import Unsupported, UsageError
from runner.loaders import WithPolicies
from runner.loaders._building import chosen_batch_size, seeded
from runner.workload import LoadRequest, Mode, Workload, map_tensors, mean_loss

if TYPE_CHECKING:
    from types import ModuleType


@dataclass
class Module(WithPolicies):
    """Loader of one class: its constructor makes the model, `get_example_inputs()` the inputs.

    The inputs are a tuple or list of positional arguments or a dict of keyword arguments. What else the class may have:
    a constructor parameter `batch_size`, which is given the one asked for; an attribute `batch_size`, which is
    recorded; a method `compute_loss(output)` that returns the scalar loss of a training step (otherwise it is the mean
    of the output).
    """

    path: str = ""  # Python file; a relative one is taken from the directory the run was started in
    class_name: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)  # of the constructor

    def __post_init__(self) -> None:
        """Make the path absolute, so that a child with another working directory finds it."""
        if self.path:
            self.path = str(Path(self.path).expanduser().absolute())

    def names(self) -> Sequence[str]:
        """The class name; raises `UsageError` when there is no such file."""
        self._check()
        return (self.class_name,)

    def load(self, name: str, request: LoadRequest) -> Workload:
        """Import the file and build the class `name`; what the model's own code raises passes through.

        Raises `Unsupported` when a batch size is asked for that the constructor does not take.
        """
        self._check()
        path = Path(self.path)
        with _importable(path.parent), seeded(request.seed, request.device):
            make = _member(_import(path), name)
            model = make(**self._arguments(make, name, request))
            inputs = _example_inputs(model, name)
        args, kwargs = map_tensors(lambda tensor: _move(tensor, request.device), inputs)
        return Workload(
            name=name,
            model=_place(model, request),
            args=args,
            kwargs=kwargs,
            batch_size=getattr(model, "batch_size", None),
            mode=request.mode,
            loss=getattr(model, "compute_loss", mean_loss),
            source="module",
            policy=request.policy,
            device=request.device,
        )

    def _check(self) -> None:
        if not (self.path and self.class_name):
            raise UsageError("suite=module needs both suite.path=FILE.py and suite.class_name=NAME")
        if not Path(self.path).exists():
            raise UsageError(f"suite.path: there is no file '{self.path}'")
        if not (self.path.endswith(".py") and Path(self.path).is_file()):
            raise UsageError(f"suite.path must be a Python file (*.py), and '{self.path}' is not")

    def _arguments(self, make: Callable[..., Any], name: str, request: LoadRequest) -> dict[str, Any]:
        batch_size = chosen_batch_size(request)
        if batch_size is None:
            return self.kwargs
        if not _takes_batch_size(make):
            raise Unsupported(
                f"the constructor of {name} takes no batch_size: add that parameter, or leave batch_size=suite"
            )
        return {**self.kwargs, "batch_size": batch_size}


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Inside, modules in `folder` can be imported; afterwards `sys.path` is without it again."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _import(path: Path) -> ModuleType:
    """The file as a module; it gets a name of ours, so that `torch.py` or `net.py` hides nothing of that name."""
    name = f"_suite_module_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, path
    assert spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses, pickle and dynamo look there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _member(module: ModuleType, name: str) -> Callable[..., Any]:
    if hasattr(module, name):
        member: Callable[..., Any] = getattr(module, name)
        return member
    own = [n for n, value in vars(module).items() if inspect.isclass(value) and value.__module__ == module.__name__]
    raise AttributeError(f"{module.__file__} defines no '{name}'; its classes: {', '.join(own) or 'none'}")


def _takes_batch_size(make: Callable[..., Any]) -> bool:
    parameters = inspect.signature(make).parameters.values()
    return any(p.name == "batch_size" or p.kind is p.VAR_KEYWORD for p in parameters)


def _example_inputs(model: Any, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of one call."""
    inputs = model.get_example_inputs()
    if isinstance(inputs, dict):
        return (), inputs
    if isinstance(inputs, (tuple, list)):
        return tuple(inputs), {}
    raise TypeError(
        f"{name}.get_example_inputs() returned {type(inputs).__name__}; it must return a tuple or list of positional "
        "arguments or a dict of keyword arguments"
    )


def _move(tensor: Any, device: str) -> Any:
    """The tensor on `device`, as a leaf that requires grad if it did."""
    return tensor.detach().to(device).requires_grad_(tensor.requires_grad)


def _place(model: Any, request: LoadRequest) -> Any:
    """A module on the device and in the mode; any other callable as it is."""
    import torch

    if not isinstance(model, torch.nn.Module):
        return model
    return model.to(request.device).train(request.mode is Mode.training)
