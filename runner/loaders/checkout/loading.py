"""Builds one model of a checkout through its own `Model` class and makes a workload of what `get_module` gives."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.errors import Unsupported
from runner.loaders._building import chosen_batch_size, counted
from runner.loaders._losses import own_loss, projection
from runner.loaders._norms import settle_batch_norm
from runner.loaders._packages import mend_torchvision
from runner.loaders.checkout.directory import KNOWN_COMMIT, Checkout
from runner.loaders.checkout.missing import explained
from runner.loaders.checkout.network import closed
from runner.loaders.checkout.undo import inside
from runner.loaders.checkout.weights import Replaced, random_weights
from runner.workload import LoadRequest, Mode, Workload, mean_loss, tensors_of

if TYPE_CHECKING:
    import torch

#: Otherwise the models take half precision on a GPU; the runner casts them itself.
_ARGUMENTS = ["--precision", "fp32"]
#: Models that give a distribution, in which no tensor would be found to compare.
_DISTRIBUTIONS = {"drq", "soft_actor_critic"}


@dataclass(frozen=True)
class Loaded:
    """What a model's class gave."""

    benchmark: Any
    model: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    needs_grad: bool  # also in inference


def load(checkout: Checkout, name: str, request: LoadRequest, pretrained: bool) -> Workload:
    """The workload of the model `name`; raises Unsupported naming the package, data, weights or device it lacks."""
    if request.device == "meta":
        raise Unsupported("a checkout's models can't be counted without building them: leave suite.checkout out")
    with _explained(name, checkout), inside(checkout.root, request.seed):
        with nullcontext() if pretrained else random_weights() as replaced:
            loaded = _load(checkout, name, request, replaced)
        random = bool(replaced and replaced.names)
        if random:
            _settle(loaded)
    if hasattr(loaded.model, "train"):
        loaded.model.train(request.mode is Mode.training)
    return Workload(
        name=name,
        model=loaded.model,
        args=loaded.args,
        kwargs=loaded.kwargs,
        batch_size=loaded.benchmark.batch_size,
        mode=request.mode,
        loss=loss,
        source="torchbenchmark",
        policy=request.policy,
        device=request.device,
        grad=loaded.needs_grad,
        flags=_flags(checkout, random),
    )


def parameters(checkout: Checkout, name: str) -> int | None:
    """How many parameters a model has that the checkout makes of a configuration of transformers; None for others."""
    if "HuggingFace" not in (checkout.source(name).folder / "__init__.py").read_text(encoding="utf-8"):
        return None

    def make() -> torch.nn.Module:
        mend_torchvision()
        factory = importlib.import_module("torchbenchmark.util.framework.huggingface.basic_configs")
        replaced.patch_libraries()
        net: torch.nn.Module = factory.download_model(name.removesuffix("_generate"))[1]
        return net

    with closed(), inside(checkout.root, seed=0), random_weights() as replaced:
        return counted(make)


@contextmanager
def _explained(name: str, checkout: Checkout) -> Iterator[None]:
    """Without network; what is raised because something is missing says what."""
    with closed() as hosts:
        try:
            yield
        except Exception as error:
            missing = explained(error, name, checkout.source(name), hosts)
            if missing is None:
                raise
            raise missing from error


def _load(checkout: Checkout, name: str, request: LoadRequest, replaced: Replaced | None) -> Loaded:
    mend_torchvision()
    checks = importlib.import_module("torchbenchmark.util.env_check")
    checks.MAIN_RANDOM_SEED = request.seed  # type: ignore[attr-defined]
    module = importlib.import_module(checkout.package(name))
    if replaced is not None:
        replaced.patch_libraries()
    benchmark = _construct(module, name, request)
    model, inputs = benchmark.get_module()
    if name in _DISTRIBUTIONS:
        model = moments_of(model)
    args, kwargs = ((), dict(inputs)) if hasattr(inputs, "keys") else (tuple(inputs), {})
    return Loaded(benchmark, model, args, kwargs, _needs_grad(benchmark, checks))


def _construct(module: Any, name: str, request: LoadRequest) -> Any:
    kind = getattr(module, "Model", None)
    if kind is None:
        raise Unsupported(f"{name} defines no class Model here: its package does not support this platform")
    if getattr(kind, "name", None) is None:
        kind.name = name
    asked = chosen_batch_size(request)
    _refuse_batch_size(kind, name, asked, request.mode)
    test = "train" if request.mode is Mode.training else "eval"
    device = request.device.split(":")[0]
    benchmark = kind(test=test, device=device, batch_size=asked, extra_args=list(_ARGUMENTS))
    if asked is not None and benchmark.batch_size != asked:
        raise Unsupported(
            f"{name} ignores the batch size: {asked} was asked for and {benchmark.batch_size} came; "
            "leave batch_size=suite"
        )
    return benchmark


def _refuse_batch_size(kind: Any, name: str, asked: int | None, mode: Mode) -> None:
    own = kind.DEFAULT_TRAIN_BSIZE if mode is Mode.training else kind.DEFAULT_EVAL_BSIZE
    if asked is not None and asked != own and not getattr(kind, "ALLOW_CUSTOMIZE_BSIZE", True):
        raise Unsupported(f"{name} has a fixed batch size of {own}, and {asked} was asked for: leave batch_size=suite")


def _needs_grad(benchmark: Any, checks: Any) -> bool:
    """By the checkout's own list, or by the model's metadata."""
    metadata = benchmark.metadata or {}
    return benchmark.name in getattr(checks, "USE_GRAD_IN_INFERENCE", ()) or metadata.get("eval_nograd") is False


def _settle(loaded: Loaded) -> None:
    """Batch norm in the place of a pretrained one gets statistics, where the model takes one batch of images."""
    import torch

    image = next(tensors_of(loaded.args), None)
    if isinstance(loaded.model, torch.nn.Module) and image is not None and image.dim() == 4 and len(loaded.args) == 1:
        settle_batch_norm(loaded.model, *image.shape[1:])


def _flags(checkout: Checkout, random: bool) -> tuple[str, ...]:
    """Which commit the checkout is at, whether that is another than the known one, and whether weights are random."""
    commit = checkout.commit()
    at = [f"checkout_{commit[:12]}"] if commit else []
    if commit and commit != KNOWN_COMMIT:
        at.append("other_commit")
        print(
            f"{checkout.root} is at commit {commit[:12]}: what is known here of its models, batch sizes and tolerances "
            f"among it, is of {KNOWN_COMMIT[:12]}"
        )
    return (*at, "random_weights") if random else tuple(at)


def moments_of(model: Any) -> Any:
    """A module that gives location and scale of the normal distribution that `model` gives."""
    import torch

    class Moments(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, *args: Any) -> tuple[torch.Tensor, torch.Tensor]:
            distribution = self.inner(*args)
            return distribution.loc, distribution.scale

    return Moments()


def loss(output: Any) -> torch.Tensor:
    """The model's own loss where it gives one, else a weighted mean: the plain one is constant after a softmax."""
    if getattr(output, "loss", None) is not None:
        return own_loss(output)
    wide = [t for t in tensors_of(output) if t.is_floating_point() and t.dim()]
    return projection(wide) if wide else mean_loss(output)
