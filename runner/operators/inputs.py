"""Makes the inputs that a log describes: tensors of the recorded form whose values the operator accepts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch._ops import OpOverload

from runner.errors import Unsupported
from runner.operators import domains
from runner.operators.derived import DERIVED
from runner.operators.values import FLOATING, InputSet, Name, TensorSpec, specs
from runner.state import overlaps

#: Shares of the free memory that the inputs of one set may take: both sides, a check and its reference need as much.
MEMORY_SHARE = 0.2
_WIDTH = {"bfloat16": 16, "float16": 16, "float32": 32, "float64": 64}
_INDEX_LISTS = frozenset({"index", "_unsafe_index", "index_put", "_index_put_impl", "_unsafe_index_put"})


@dataclass(frozen=True)
class Setting:
    """Where and in which form inputs are made. `precision` is the dtype in which a model's floats would be."""

    device: str = "cpu"
    precision: str = "float32"
    channels_last: bool = False
    seed: int = 0
    free_bytes: int | None = None


@dataclass(frozen=True)
class Call:
    """An operator with arguments. `tensors` are all of them in order, `grads` those that get a gradient."""

    operator: OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensors: tuple[torch.Tensor, ...]
    grads: tuple[int, ...] = ()


def resolve(name: str) -> OpOverload:
    """The operator of a name such as aten.add.Tensor. Raises Unsupported for one that this torch lacks."""
    namespace, _, rest = name.partition(".")
    packet, _, overload = rest.partition(".")
    library = getattr(torch.ops, namespace)
    try:
        found = getattr(getattr(library, packet), overload or "default")
    except (AttributeError, RuntimeError) as error:
        raise Unsupported(f"torch {torch.__version__} has no operator {name}") from error
    assert isinstance(found, OpOverload)
    return found


def make(operator: OpOverload, entry: InputSet, setting: Setting) -> Call:
    """Inputs for one recorded set. Raises Unsupported for sparse tensors and for what does not fit into memory."""
    return _Maker(operator, entry, setting).call()


def precise(dtype: str, narrowest: str, precision: str) -> str:
    """The dtype that takes the place of a recorded floating one.

    The log's narrowest floats become those of the precision; wider ones, which the model kept wide on purpose, stay
    unless the precision is wider still.
    """
    if dtype not in FLOATING:
        return {"complex64": "complex128"}.get(dtype, dtype) if precision == "float64" else dtype
    return precision if dtype == narrowest or _WIDTH[precision] > _WIDTH[dtype] else dtype


class _Maker:
    def __init__(self, operator: OpOverload, entry: InputSet, setting: Setting) -> None:
        self._operator, self._entry, self._setting = operator, entry, setting
        self._packet = operator._schema.name.partition("::")[2]
        self._random = torch.Generator(setting.device).manual_seed(setting.seed)
        self._made: list[torch.Tensor] = []
        self._grads: list[int] = []

    def call(self) -> Call:
        self._refuse()
        schema = self._operator._schema.arguments
        names = [argument.name for argument in schema if not argument.kwarg_only]
        self._types = {argument.name: str(argument.type) for argument in schema}
        recorded = len(self._entry.args)
        if recorded > len(names):
            raise Unsupported(f"{self._operator} takes {len(names)} arguments now, {recorded} were recorded")
        given = {**dict(zip(names, self._entry.args, strict=False)), **self._entry.kwargs}
        unknown = sorted(set(given) - set(self._types))
        if unknown:
            raise Unsupported(f"{self._operator} has no argument {', '.join(unknown)} any more")
        self._given = {**{a.name: a.default_value for a in schema if a.has_default_value()}, **given}
        made = {name: self._value(name, value) for name, value in given.items()}
        derive = DERIVED.get(domains.base(self._packet))
        if derive is not None:
            self._replace(made, derive({**{n: v for n, v in self._given.items() if n not in made}, **made}))
        args = tuple(made[name] for name in names[: len(self._entry.args)])
        kwargs = {name: made[name] for name in self._entry.kwargs}
        return Call(self._operator, args, kwargs, tuple(self._tensors((args, kwargs))), tuple(self._grads))

    def _refuse(self) -> None:
        found = self._entry.tensors
        if any(spec.sparse for spec in found):
            raise Unsupported("sparse tensors are recorded without their indices")
        free = self._setting.free_bytes
        needed = sum(_storage(spec) * _itemsize(spec.dtype) for spec in found)
        if free is not None and needed > MEMORY_SHARE * free:
            raise Unsupported(f"the inputs take {needed / 1e9:.3g} GB, too much for {free / 1e9:.3g} GB of free memory")

    def _tensors(self, value: Any) -> Sequence[torch.Tensor]:
        from runner.workload import tensors_of

        return list(tensors_of(value))

    def _replace(self, made: dict[str, Any], derived: Mapping[str, torch.Tensor]) -> None:
        """Put derived values into the tensors where they fit; a form that is another one now takes their place."""
        for name, value in derived.items():
            old = made.get(name)
            if not isinstance(old, torch.Tensor):
                continue
            same = old.shape == value.shape and old.dtype == value.dtype and not overlaps(old)
            made[name] = old.copy_(value) if same else value.detach().clone()

    def _value(self, argument: str, value: Any) -> Any:
        if argument == "indices" and domains.base(self._packet) in _INDEX_LISTS:
            return self._index_list(value)
        if isinstance(value, TensorSpec):
            return self._tensor(argument, value)
        if isinstance(value, (list, tuple)):
            return [self._value(argument, child) for child in value]
        return self._constant(argument, value)

    def _constant(self, argument: str, value: Any) -> Any:
        if isinstance(value, Name):
            return getattr(torch, precise(value.name, self._entry.narrowest, self._setting.precision))
        if value is not None and "Device" in self._types[argument]:
            return torch.device(self._setting.device)
        if isinstance(value, float) and math.isfinite(value):  # a mask's value may be the lowest of its own dtype
            most = torch.finfo(getattr(torch, self._setting.precision)).max
            return max(-most, min(most, value))
        return None if argument == "pin_memory" else value

    def _tensor(self, argument: str, spec: TensorSpec) -> torch.Tensor:
        if spec.grad:
            self._grads.append(len(self._made))
        dtype = getattr(torch, precise(spec.dtype, self._entry.narrowest, self._setting.precision))
        tensor = self._filled(argument, replace(spec, dtype=str(dtype).removeprefix("torch.")))
        if self._setting.channels_last and tensor.dim() == 4 and spec.stride is None:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        self._made.append(tensor)
        return tensor

    def _filled(self, argument: str, spec: TensorSpec) -> torch.Tensor:
        dtype = getattr(torch, spec.dtype)
        if dtype.is_floating_point or dtype.is_complex:
            return self._matrix(argument, self._floats(argument, spec, dtype))
        if dtype is torch.bool:
            return self._shaped(spec, self._integers(spec, 0, 1).bool())
        count = domains.limit(self._packet, argument, self._given)
        if count is not None and domains.base(self._packet) in domains.DISTINCT:
            return self._distinct(spec, count)
        low, high = self._bounds(argument, spec, count)
        if argument == "offsets":
            return self._integers(spec, 0, 0).sort().values
        ends = domains.group_ends(self._packet, argument, self._given, spec.numel)
        if ends is not None:
            return torch.tensor(ends, dtype=dtype, device=self._setting.device).view(spec.size)
        return self._shaped(spec, self._integers(spec, low, high))

    def _bounds(self, argument: str, spec: TensorSpec, count: int | None) -> tuple[int, int]:
        low, high = spec.bounds or (0, domains.USUAL_HIGH if spec.dtype != "uint8" else 1)
        if count is not None:
            low, high = (max(0, low), min(high, count - 1)) if spec.bounds else (0, count - 1)
            return (low, high) if low <= high else (0, count - 1)
        dividing = domains.base(self._packet) in domains.DIVIDING and argument != "self"
        info = torch.iinfo(getattr(torch, spec.dtype))
        least, most = max(info.min, -(2**62)), min(info.max, 2**62)
        low, high = max(least, min(low, most)), max(least, min(high, most))
        return (max(1, low), max(1, high)) if dividing else (low, high)

    def _integers(self, spec: TensorSpec, low: int, high: int) -> torch.Tensor:
        """Random whole numbers, as many as the tensor's memory holds."""
        dtype = torch.int64 if spec.dtype == "bool" else getattr(torch, spec.dtype)
        size = (_storage(spec),)
        values = torch.randint(low, high + 1, size, generator=self._random, device=self._setting.device)
        return values.to(dtype)

    def _floats(self, argument: str, spec: TensorSpec, dtype: torch.dtype) -> torch.Tensor:
        wide = dtype if dtype.itemsize > 1 else torch.float32
        flat = torch.empty(_storage(spec), dtype=wide, device=self._setting.device)
        first = argument == self._operator._schema.arguments[0].name
        bounds = domains.interval(self._packet, argument, first)
        if bounds is None or dtype.is_complex:
            flat.normal_(generator=self._random)
        else:
            flat.uniform_(*bounds, generator=self._random)
        return self._shaped(spec, flat.to(dtype))

    def _matrix(self, argument: str, tensor: torch.Tensor) -> torch.Tensor:
        """A symmetric or regular matrix where the operator wants one as its first argument."""
        name = domains.base(self._packet)
        if argument not in {"self", "A"} or not {name} & (domains.SYMMETRIC | domains.REGULAR):
            return tensor
        size = tensor.shape[-1]
        more = torch.eye(size, dtype=tensor.dtype, device=tensor.device) * (1 if name in domains.SYMMETRIC else size)
        value = tensor @ tensor.mH / size + more if name in domains.SYMMETRIC else tensor + more
        return tensor.copy_(value) if not overlaps(tensor) else value

    def _shaped(self, spec: TensorSpec, flat: torch.Tensor) -> torch.Tensor:
        return flat.as_strided(spec.size, spec.stride) if spec.stride is not None else flat.view(spec.size)

    def _distinct(self, spec: TensorSpec, count: int) -> torch.Tensor:
        """Indices that differ along the operator's dimension, as far as there are enough of them."""
        dim = self._given.get("dim", 0) % max(1, len(spec.size))
        device = self._setting.device
        strides = spec.stride or [1] * len(spec.size)
        size = [n if stride else min(n, 1) for n, stride in zip(spec.size, strides, strict=True)]
        order = torch.rand((*size[:dim], count, *size[dim + 1 :]), generator=self._random, device=device)
        wanted = size[dim] if size else 1
        if wanted > count:
            return self._shaped(spec, self._integers(spec, 0, count - 1))
        places = order.argsort(dim).narrow(dim, 0, wanted).reshape(size)
        tensor = self._shaped(spec, self._integers(spec, 0, 0))
        tensor.as_strided(size, tensor.stride()).copy_(places)
        return tensor

    def _index_list(self, value: Sequence[Any]) -> list[torch.Tensor | None]:
        """Indices or masks of `tensor[...]`, each for the dimensions that it stands for."""
        sizes = list(self._given["self"].size)
        found: list[torch.Tensor | None] = []
        dim = 0
        for spec in value:
            if not isinstance(spec, TensorSpec):
                found.append(None)
                dim += 1
            elif spec.dtype in {"bool", "uint8"}:
                found.append(self._mask(spec))
                dim += len(spec.size)
            else:
                found.append(self._indices(spec, sizes[dim] if dim < len(sizes) else 1))
                dim += 1
        self._made += [tensor for tensor in found if tensor is not None]
        return found

    def _mask(self, spec: TensorSpec) -> torch.Tensor:
        """A mask with as many elements set as there are values to put, else about half of them."""
        values = self._given.get("values")
        wanted = spec.numel // 2
        if isinstance(values, TensorSpec) and values.size and values.numel > 1:
            wanted = min(values.size[0], spec.numel)
        order = torch.randperm(spec.numel, generator=self._random, device=self._setting.device)
        return (order < wanted).view(spec.size).to(getattr(torch, spec.dtype))

    def _indices(self, spec: TensorSpec, size: int) -> torch.Tensor:
        device = self._setting.device
        if spec.numel <= size and domains.base(self._packet) in domains.DISTINCT:
            order = torch.randperm(size, generator=self._random, device=device)[: spec.numel]
            return order.view(spec.size).to(getattr(torch, spec.dtype))
        low, high = self._bounds("indices", spec, max(1, size))
        return self._shaped(spec, self._integers(spec, low, high))


def _storage(spec: TensorSpec) -> int:
    """Elements that the tensor's memory holds; fewer than it has where it is expanded."""
    if spec.stride is None or not spec.numel:
        return spec.numel
    return 1 + sum((size - 1) * stride for size, stride in zip(spec.size, spec.stride, strict=True))


def _itemsize(dtype: str) -> int:
    found: torch.dtype = getattr(torch, dtype)
    return found.itemsize


def memory_format(entry: InputSet) -> str:
    """The strides of all tensors, for a table: `contiguous`, or as recorded."""
    strides = [spec.stride for spec in specs((entry.args, dict(entry.kwargs)))]
    return "contiguous" if not any(strides) else " ".join("c" if s is None else "x".join(map(str, s)) for s in strides)
