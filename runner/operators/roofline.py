"""What a device can do at best, measured: copying and matrix products; and what an operator asks of it at least."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.flop_counter import flop_registry

from runner.operators import domains

if TYPE_CHECKING:
    from runner.devices import Device
    from runner.operators.inputs import Call

#: Operators that read only the rows of their first argument that indices name.
_LOOKUPS = frozenset({"embedding", "index_select", "index", "gather", "_unsafe_index", "take", "_embedding_bag"})
#: Operators that read one element of their first argument for each of `target`.
_PICKS = frozenset({"nll_loss_forward", "nll_loss2d_forward"})
#: Operators that ask of their argument `self` its form alone, or overwrite it.
_UNREAD = frozenset(
    {
        *("zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "randint_like"),
        *("new_zeros", "new_ones", "new_full", "fill", "fill_", "zero_", "copy", "copy_", "bernoulli_", "random_"),
        *("uniform_", "normal_", "exponential_", "nll_loss_backward", "nll_loss2d_backward"),
    }
)
#: Bytes that are copied, and the side of the square matrices, on a CPU and on an accelerator.
_COPY_BYTES = (64 << 20, 1 << 30)
_MATMUL_SIZE = (1024, 8192)
_TRIALS, _TRIAL_S = 5, 0.3


class Ceilings:
    """The device's ceilings, measured once for each dtype in this process; `copy_bytes_s` in bytes per second."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._queued = int(device.event() is not None)

    @functools.cached_property
    def copy_bytes_s(self) -> float:
        """Bytes read and written per second while copying a buffer much larger than the caches."""
        source = torch.ones(_COPY_BYTES[self._queued], dtype=torch.uint8, device=self._device.torch_name)
        target = torch.empty_like(source)
        return 2 * source.nbytes / self._best_s(lambda: target.copy_(source))

    @functools.cache  # noqa: B019 - one of these lives as long as its process
    def matmul_flop_s(self, dtype: torch.dtype) -> float | None:
        """Floating-point operations per second in a product of square matrices; None where there is no such product."""
        size = _MATMUL_SIZE[self._queued]
        a = torch.ones(size, size, device=self._device.torch_name).to(dtype)
        try:
            return 2 * size**3 / self._best_s(lambda: a @ a)
        except (NotImplementedError, RuntimeError):
            return None

    def _best_s(self, call: Callable[[], Any]) -> float:
        """The shortest of a few calls, after one that is not counted; not many where one takes long."""
        call()
        times: list[float] = []
        while len(times) < _TRIALS and sum(times) < _TRIAL_S:
            self._device.synchronize()
            began = time.perf_counter()
            call()
            self._device.synchronize()
            times.append(time.perf_counter() - began)
        return min(times)


_KNOWN: dict[str, Ceilings] = {}


def ceilings(device: Device) -> Ceilings:
    """The device's ceilings, the same object for the same device: operators that share a process measure them once."""
    return _KNOWN.setdefault(device.torch_name, Ceilings(device))


def moved_bytes(call: Call, outputs: Sequence[torch.Tensor]) -> int:
    """Bytes that must be read and written at least: each input and output once, of a table only the rows asked for."""
    written = total_bytes(outputs)
    packet = call.operator._schema.name.partition("::")[2]
    names = [argument.name for argument in call.operator._schema.arguments]
    unread = {**dict(zip(names, call.args, strict=False)), **call.kwargs}.get("self") if packet in _UNREAD else None
    read = [_touched(t) for t in call.tensors if t is not unread]
    if read and domains.base(packet) in _LOOKUPS:
        read[0] = min(read[0], written)
    elif packet in _PICKS:
        table, target = call.tensors[:2]
        read[0] = min(read[0], target.numel() * table.element_size())
    return sum(read) + written


def total_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of all of them."""
    return sum(map(_touched, tensors))


def flops(call: Call, output: Any) -> int | None:
    """Floating-point operations by torch's own formulas: products, convolutions, attention; None for all others."""
    formula = flop_registry.get(call.operator.overloadpacket)
    floating = any(t.is_floating_point() for t in call.tensors)
    return None if formula is None or not floating else int(formula(*call.args, **call.kwargs, out_val=output))


def fraction(
    seconds: float, nbytes: int, operations: int | None, ceiling: Ceilings, dtype: torch.dtype | None
) -> float | None:
    """The least time that the ceilings allow, of `seconds`; above 1 where data stay in a cache."""
    least = nbytes / ceiling.copy_bytes_s
    peak = ceiling.matmul_flop_s(dtype) if operations and dtype else None
    if operations and peak:
        least = max(least, operations / peak)
    return least / seconds if least else None


def _touched(tensor: torch.Tensor) -> int:
    """Bytes of the elements that differ in place: an expanded dimension is one element."""
    if tensor.is_sparse:
        return tensor._values().nbytes + tensor._indices().nbytes
    count = tensor.element_size()
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride else min(size, 1)
    return count
