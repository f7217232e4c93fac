"""What a device can do at best, measured: copying and matrix products; and what an operator asks of it at least."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.flop_counter import flop_registry

from runner.operators import domains

if TYPE_CHECKING:
    from runner.devices import Device
    from runner.operators.inputs import Call

#: Operators that read only the rows of their first argument that indices name.
_LOOKUPS = frozenset({"embedding", "index_select", "index", "gather", "_unsafe_index", "take", "_embedding_bag"})
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
    written = sum(_touched(t) for t in outputs)
    packet = domains.base(call.operator._schema.name.partition("::")[2])
    lookup = packet in _LOOKUPS and call.tensors
    read = [min(_touched(t), written) if lookup and i == 0 else _touched(t) for i, t in enumerate(call.tensors)]
    return sum(read) + written


def flops(call: Call, output: Any) -> int | None:
    """Floating-point operations by torch's own formulas: products, convolutions, attention; None for all others."""
    formula = flop_registry.get(call.operator.overloadpacket)
    return None if formula is None else int(formula(*call.args, **call.kwargs, out_val=output))


def fraction(
    seconds: float, nbytes: int, operations: int | None, ceiling: Ceilings, dtype: torch.dtype
) -> float | None:
    """The least time that the ceilings allow, of `seconds`; above 1 where data stay in a cache."""
    least = nbytes / ceiling.copy_bytes_s
    peak = ceiling.matmul_flop_s(dtype) if operations else None
    if operations and peak:
        least = max(least, operations / peak)
    return least / seconds if least else None


def _touched(tensor: torch.Tensor) -> int:
    """Bytes of the elements that differ in place: an expanded dimension is one element."""
    count = tensor.element_size()
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride else min(size, 1)
    return count
