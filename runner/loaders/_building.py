"""From a catalogue entry to a workload: batch size, seed, device; a builder function only says what the model is.

Imports no torch, so that a loader's names are known without it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runner.errors import Unsupported
from runner.loaders import Facts
from runner.loaders._packages import require
from runner.parameter_counts import total
from runner.workload import LoadRequest, Mode, Workload, mean_loss

if TYPE_CHECKING:
    import torch

#: How the names of builder modules begin, and the package that those need, in this version or later.
PACKAGES = {
    "torchvision": ("torchvision", "0.20"),
    "timm": ("timm", "1.0"),
    "transformers_by_name": ("transformers", "5.0"),
    "transformers": ("transformers", "4.40"),
}
#: Keeps the stream of the inputs apart from that of the weights.
_INPUT_SEED_OFFSET = 1_000_003


@dataclass(frozen=True)
class Entry:
    """One model of a catalogue.

    `build` is "module:function" in `runner.loaders.builtin`; the function is called with an `Order` and `options`
    and returns `Parts`. The batch sizes are defaults; `cpu_inference` replaces `inference` on a CPU. `training` is
    None for a model that is not trained.
    """

    build: str
    inference: int
    training: int | None
    options: Mapping[str, Any] = field(default_factory=dict)
    cpu_inference: int | None = None


@dataclass(frozen=True)
class Order:
    """What a builder is asked for; `draw` makes the inputs and labels."""

    training: bool
    batch_size: int
    device: str
    draw: Draw


@dataclass(frozen=True)
class Parts:
    """What a builder returns: a model on any device in any mode, its inputs, and the loss of its output."""

    model: torch.nn.Module
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    loss: Callable[[Any], torch.Tensor] = mean_loss


class Draw:
    """Random tensors from a seed, made on the CPU so that every device gets the same values."""

    def __init__(self, seed: int, device: str) -> None:
        """Values depend on `seed`; the tensors are put on `device`."""
        import torch

        self._device = device
        self._generator = torch.Generator().manual_seed(seed + _INPUT_SEED_OFFSET)

    def normal(self, *shape: int) -> torch.Tensor:
        """Standard normal float32."""
        import torch

        return torch.randn(shape, generator=self._generator, device="cpu").to(self._device)

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Uniform float32 in [low, high)."""
        import torch

        unit = torch.rand(shape, generator=self._generator, device="cpu")
        return (low + (high - low) * unit).to(self._device)

    def integers(self, low: int, high: int, *shape: int) -> torch.Tensor:
        """Uniform int64 in [low, high)."""
        import torch

        return torch.randint(low, high, shape, generator=self._generator, device="cpu").to(self._device)


def build(name: str, entry: Entry, request: LoadRequest) -> Workload:
    """The workload of a catalogue entry.

    On device "meta" nothing is allocated or initialised, which is how to ask for parameter counts and output shapes.
    """
    order = Order(
        training=request.mode is Mode.training,
        batch_size=_batch_size(name, entry, request),
        device=request.device,
        draw=Draw(request.seed, request.device),
    )
    return assemble(name, f"builtin.{entry.build}", entry.options, order, request)


def assemble(
    name: str, build: str, options: Mapping[str, Any], order: Any, request: LoadRequest, **more: Any
) -> Workload:
    """The workload of what the builder "module:function" below `runner.loaders` makes of an order.

    `order` is the builder's own kind, with `training` and `batch_size`; `more` are further fields of the workload.
    """
    module, _, function = build.partition(":")
    builder = getattr(importlib.import_module(f"runner.loaders.{module}"), function)
    with seeded(request.seed, request.device):
        parts: Parts = builder(order, **options)
    return Workload(
        name=name,
        model=parts.model.to(request.device).train(order.training),
        args=parts.args,
        kwargs=parts.kwargs,
        batch_size=order.batch_size,
        mode=request.mode,
        loss=parts.loss,
        policy=request.policy,
        device=request.device,
        **more,
    )


def facts(entry: Entry, source: str = "builtin") -> Facts:
    """What is known of a catalogue entry without building it."""
    module = entry.build.partition(":")[0]
    needed = next((package for start, package in PACKAGES.items() if module.startswith(start)), None)
    try:
        if needed:
            require(*needed)
        missing = ""
    except Unsupported as error:
        missing = str(error)
    return Facts(source, entry.inference, entry.training, missing)


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Inside, weights are made on the CPU (on "meta" for meta) from `seed`; the generator's state is put back after."""
    import torch

    place = torch.device("meta" if device == "meta" else "cpu")
    with torch.random.fork_rng(devices=[]), place:
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators as well
        yield


def counted(make: Callable[[], torch.nn.Module]) -> int | None:
    """Parameters of the module that `make` gives, without memory for them; None where it can't be made like that."""
    try:
        with seeded(0, "meta"):
            parameters = list(make().parameters())
    except Exception:  # noqa: BLE001 - what is wrong is said where it is really made
        return None
    return total(parameters)


def chosen_batch_size(request: LoadRequest) -> int | None:
    """The batch size that was asked for: by the command, else by the model's policy for this mode."""
    if request.batch_size is not None:
        return request.batch_size
    policy = request.policy
    return policy.batch_size_training if request.mode is Mode.training else policy.batch_size_inference


def _batch_size(name: str, entry: Entry, request: LoadRequest) -> int:
    chosen = chosen_batch_size(request)
    if request.mode is Mode.training:
        if entry.training is None:
            raise Unsupported(f"{name} is for inference only: use mode=inference")
        return chosen or _divided(entry.training, request)
    if chosen is not None:
        return chosen
    if entry.cpu_inference is not None and request.device.split(":")[0] == "cpu":
        return _divided(entry.cpu_inference, request)
    return _divided(entry.inference, request)


def _divided(default: int, request: LoadRequest) -> int:
    """The suite's own batch size after the model's policy."""
    return max(1, default // (request.policy.batch_divisor or 1))
