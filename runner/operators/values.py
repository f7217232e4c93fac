"""What a line of an operator log holds: tensors by their form, dtypes and other names of torch, and plain literals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

#: Upstream's abbreviations of dtypes, and what it lacks.
DTYPES: Mapping[str, str] = {
    "bf16": "bfloat16",
    "f64": "float64",
    "f32": "float32",
    "f16": "float16",
    "c32": "complex32",
    "c64": "complex64",
    "c128": "complex128",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "b8": "bool",
    "u8": "uint8",
    "u16": "uint16",
    "u32": "uint32",
    "u64": "uint64",
    "f8e4m3": "float8_e4m3fn",
    "f8e5m2": "float8_e5m2",
}
ABBREVIATIONS = {name: short for short, name in DTYPES.items()}
#: Floating dtypes from the narrowest to the widest.
FLOATING = ("bfloat16", "float16", "float32", "float64")


@dataclass(frozen=True)
class TensorSpec:
    """A recorded tensor: its form, and what is known of its values.

    `dtype` is torch's name; `stride` None means contiguous; `low` and `high` bound integer values, both inclusive.
    """

    size: tuple[int, ...]
    dtype: str
    stride: tuple[int, ...] | None = None
    sparse: bool = False
    grad: bool = False
    bounds: tuple[int, int] | None = None

    @property
    def numel(self) -> int:
        """Number of elements."""
        count = 1
        for size in self.size:
            count *= size
        return count

    def __str__(self) -> str:
        short = ABBREVIATIONS.get(self.dtype, self.dtype)
        stride = "" if self.stride is None else f", stride={_tuple(self.stride)}"
        return f"{'ST' if self.sparse else 'T'}([{', '.join(map(str, self.size))}], {short}{stride})"


@dataclass(frozen=True)
class Name:
    """A dtype, a layout or a memory format by torch's name for it (`float16`, `strided`, `channels_last`)."""

    name: str

    def __str__(self) -> str:
        return ABBREVIATIONS.get(self.name, f"torch.{self.name}")


@dataclass(frozen=True)
class InputSet:
    """One way in which an operator was called: `count` times with these arguments.

    `where` is file and line; `narrowest` the narrowest floating dtype in the log that it comes from.
    """

    count: int
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""
    narrowest: str = "float32"

    @property
    def tensors(self) -> list[TensorSpec]:
        """All tensors in order of appearance."""
        return list(specs((self.args, self.kwargs)))

    @property
    def text(self) -> str:
        """The arguments in upstream's notation."""
        return f"({literal(self.args)}, {literal(dict(self.kwargs))})"

    @property
    def key(self) -> str:
        """Equal for sets that differ in count and in bounds of integers only."""
        return f"{self.text} {[i for i, spec in enumerate(self.tensors) if spec.grad]} {self.narrowest}"

    def line(self) -> str:
        """The line of a log. What upstream's notation can't say follows as a comment, which upstream ignores."""
        found = self.tensors
        notes: dict[str, Any] = {}
        grads = [i for i, spec in enumerate(found) if spec.grad]
        bounds = {i: spec.bounds for i, spec in enumerate(found) if spec.bounds is not None}
        if grads:
            notes["grad"] = grads
        if bounds:
            notes["range"] = bounds
        return f"cnt: {self.count}, {self.text}" + (f"  # {literal(notes)}" if notes else "")

    def joined(self, other: InputSet) -> InputSet:
        """The set for both: counts added, bounds of integers widened."""
        mine, others = self.tensors, other.tensors
        wide = iter([replace(a, bounds=_hull(a.bounds, b.bounds)) for a, b in zip(mine, others, strict=True)])
        args, kwargs = map_specs(lambda _: next(wide), (self.args, dict(self.kwargs)))
        return replace(self, count=self.count + other.count, args=args, kwargs=kwargs)


@dataclass(frozen=True)
class BadLine:
    """A line that can't be read, at its place in the operator's section. `why` starts with file, line and column."""

    why: str


def specs(value: Any) -> Iterator[TensorSpec]:
    """The tensors in nested lists, tuples and mappings, in order."""
    if isinstance(value, TensorSpec):
        yield value
    elif isinstance(value, Mapping):
        for child in value.values():
            yield from specs(child)
    elif isinstance(value, (list, tuple)):
        for child in value:
            yield from specs(child)


def map_specs(function: Callable[[TensorSpec], Any], value: Any) -> Any:
    """`value` with `function(tensor)` in the place of every tensor, in order."""
    if isinstance(value, TensorSpec):
        return function(value)
    if isinstance(value, Mapping):
        return {key: map_specs(function, child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map_specs(function, child) for child in value)
    return value


def literal(value: Any) -> str:
    """`value` as a log has it: Python's notation, tensors and names in upstream's."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(key)}: {literal(child)}" for key, child in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, tuple):
        return _tuple(value)
    return str(value) if isinstance(value, (TensorSpec, Name)) else repr(value)


def _tuple(values: tuple[Any, ...]) -> str:
    return "(" + ", ".join(map(literal, values)) + ("," if len(values) == 1 else "") + ")"


def _hull(a: tuple[int, int] | None, b: tuple[int, int] | None) -> tuple[int, int] | None:
    """None, which is no bound, only where neither side knows one."""
    if a is None or b is None:
        return a or b
    return min(a[0], b[0]), max(a[1], b[1])
