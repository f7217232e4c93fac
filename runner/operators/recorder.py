"""Records which operators run, with the form of their arguments, by looking over torch's shoulder while they run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils.weak import WeakTensorKeyDictionary

from runner.operators.values import ABBREVIATIONS, InputSet, Name, TensorSpec
from runner.workload import tensors_of

Bounds = tuple[int, int]
#: Operators whose integer results hold values of their integer inputs and no others.
_PASSING = frozenset(
    {
        *("clone", "_to_copy", "copy_", "copy", "cat", "stack", "index", "index_select", "gather", "where", "repeat"),
        *("constant_pad_nd", "roll", "flip", "sort", "lift_fresh_copy", "masked_fill", "masked_fill_", "contiguous"),
        *("_reshape_copy", "_unsafe_view", "select_scatter", "slice_scatter", "max", "min", "amax", "amin"),
    }
)
#: Made of nothing, or nothing but memory: not what anybody wants to compile.
_UNINTERESTING = frozenset({"detach", "alias", "lift_fresh", "lift", "empty_like", "new_empty", "new_empty_strided"})


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects calls while active. Under a fake mode it follows bounds of integers as far as they are plain to see."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._counts: dict[str, dict[str, InputSet]] = defaultdict(dict)
        self._bounds = WeakTensorKeyDictionary()
        self.recording = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operator, and note it if it computes something from tensors."""
        given = dict(kwargs or {})
        if not self.recording and _plain_numbers(func, args):
            with _disable_current_modes():
                return func(*args, **given)
        if not self.recording and _asks_whether(func, args):
            return False
        noted = self._input_set(args, given) if self.recording and _interesting(func) else None
        out = func(*args, **given)
        self._follow(func, args, given, out)
        if noted is not None and noted.tensors and any(True for _ in tensors_of(out)):
            section = self._counts[str(func)]
            before = section.get(noted.key)
            section[noted.key] = before.joined(noted) if before else noted
        return out

    def text(self) -> str:
        """The log: operators sorted, their input sets in order of first use."""
        lines = []
        for operator in sorted(self._counts):
            lines += [f"Operator: {operator}", *(entry.line() for entry in self._counts[operator].values())]
        return "\n".join([*lines, ""])

    def totals(self) -> dict[str, int]:
        """Operators, different input sets, and calls."""
        sets = [entry for section in self._counts.values() for entry in section.values()]
        return {"operators": len(self._counts), "input_sets": len(sets), "calls": sum(s.count for s in sets)}

    def _input_set(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> InputSet:
        return InputSet(1, tuple(map(self._plain, args)), {key: self._plain(value) for key, value in kwargs.items()})

    def _plain(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self._spec(value)
        if isinstance(value, (list, tuple)):
            found = list(map(self._plain, value))
            return found if type(value) is not tuple else tuple(found)
        if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
            return Name(str(value).removeprefix("torch."))
        if isinstance(value, torch.device):
            return value.type
        if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            raise TypeError("a size is not known while recording")
        return value if isinstance(value, (bool, int, float, complex, str)) else None

    def _spec(self, tensor: torch.Tensor) -> TensorSpec:
        sparse = tensor.layout != torch.strided
        plain = sparse or tensor.is_contiguous()
        return TensorSpec(
            size=tuple(tensor.shape),
            dtype=str(tensor.dtype).removeprefix("torch."),
            stride=None if plain else tuple(tensor.stride()),
            sparse=sparse,
            grad=torch.is_grad_enabled() and tensor.requires_grad and tensor.is_floating_point(),
            bounds=self._bounds_of(tensor),
        )

    def _bounds_of(self, tensor: torch.Tensor) -> Bounds | None:
        if tensor.dtype not in _INTEGERS:
            return None
        known: Bounds | None = self._bounds.get(tensor)  # type: ignore[no-untyped-call]
        if known is None and not _is_fake(tensor) and tensor.numel() and tensor.layout == torch.strided:
            with _disable_current_modes():
                low, high = torch.aminmax(tensor.detach().long())
                known = int(low), int(high)
        return known

    def _follow(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> None:
        outs = [t for t in tensors_of(out) if t.dtype in _INTEGERS and _is_fake(t)]
        if not outs:
            return
        bounds = self._result_bounds(func, args, kwargs)
        for tensor in outs:
            if bounds is not None:
                self._bounds[tensor] = bounds

    def _result_bounds(self, func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Bounds | None:
        name = func._schema.name.partition("::")[2]
        maker = _MAKERS.get(name)
        numbers = [a for a in args if type(a) in (int, float, bool)]
        if maker is not None:
            return maker(numbers)
        if func.is_view or name in _PASSING:
            inputs = [t for t in tensors_of((args, dict(kwargs))) if t.dtype in _INTEGERS]
            return _hull(self._bounds.get(t) for t in inputs)  # type: ignore[no-untyped-call]
        return None


_INTEGERS = frozenset({torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8})


def _plain_numbers(func: Any, args: Sequence[Any]) -> bool:
    """Whether a model that is made asks for numbers by way of a tensor: rates of its layers, from linspace to item.

    They are computed in earnest, for a fake tensor would not tell them.
    """
    if func is torch.ops.aten.linspace.default:
        return True
    read = func is torch.ops.aten._local_scalar_dense.default or getattr(func, "is_view", False)
    found = list(tensors_of(args)) if read else []
    return bool(found) and not any(map(_is_fake, found))


def _asks_whether(func: Any, args: Sequence[Any]) -> bool:
    """Whether a model that is made asks a fake tensor for a truth: are new weights out of bounds? None are."""
    return func is torch.ops.aten._local_scalar_dense.default and args[0].dtype is torch.bool and _is_fake(args[0])


def _is_fake(tensor: torch.Tensor) -> bool:
    return isinstance(tensor, torch._subclasses.FakeTensor)


def _interesting(func: Any) -> bool:
    """Whether it is an operator that computes: no view of its input, no empty memory, no dtype question."""
    if not isinstance(func, OpOverload) or func.namespace in {"prim", "_c10d_functional", "c10d", "profiler"}:
        return False
    name = func._schema.name.partition("::")[2]
    return not func.is_view and name not in _UNINTERESTING and not name.startswith("sym_")


def _hull(bounds: Iterable[Bounds | None]) -> Bounds | None:
    found = list(bounds)
    known = [b for b in found if b is not None]
    if not found or len(known) < len(found):
        return None
    return min(b[0] for b in known), max(b[1] for b in known)


def _whole(values: Sequence[Any]) -> list[int]:
    return [int(v) for v in values if v == v and abs(v) < 2**62]  # noqa: PLR0124 - NaN is not itself


def _constant(at: int) -> Callable[[Sequence[Any]], Bounds | None]:
    def bounds(numbers: Sequence[Any]) -> Bounds | None:
        found = _whole(numbers[at:])[:1]
        return (found[0], found[0]) if found else None

    return bounds


def _random(numbers: Sequence[Any]) -> Bounds | None:
    found = _whole(numbers)[:2]
    low, high = (0, found[0]) if len(found) == 1 else found or (0, 1)
    return low, max(low, high - 1)


def _arange(numbers: Sequence[Any]) -> Bounds | None:
    found = _whole(numbers)
    start, end = (0, found[0]) if len(found) == 1 else found[:2]
    return min(start, end), max(start, end - 1)


#: Bounds of the results of operators that make values out of their numbers.
_MAKERS: Mapping[str, Callable[[Sequence[Any]], Bounds | None]] = {
    "randint": _random,
    "randint_like": _random,
    "random_": _random,
    "arange": _arange,
    **dict.fromkeys(("full", "full_like", "new_full", "fill_", "scalar_tensor"), _constant(0)),
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros", "zero_"), lambda _: (0, 0)),
    **dict.fromkeys(("ones", "ones_like", "new_ones"), lambda _: (1, 1)),
}
assert {str(dtype).removeprefix("torch.") for dtype in _INTEGERS} <= set(ABBREVIATIONS)


@contextmanager
def converting_by_replacement() -> Iterator[None]:
    """Let `module.to(...)` put new parameters in the old ones' place: fake tensors, which it wants to swap, refuse."""
    before = torch.nn.Module._apply
    replaced: dict[int, tuple[Any, torch.Tensor, torch.Tensor]] = {}

    def converted(tensor: torch.Tensor, function: Any) -> torch.Tensor:
        known = replaced.get(id(tensor))
        if known is not None and known[0] is function:  # a parameter that modules share stays shared
            return known[2]
        with torch.no_grad():
            new: torch.Tensor = function(tensor)
        if new is not tensor and isinstance(tensor, torch.nn.Parameter):
            new = torch.nn.Parameter(new, tensor.requires_grad)
        replaced[id(tensor)] = (function, tensor, new)
        return new

    def apply(module: torch.nn.Module, function: Any, recurse: bool = True) -> torch.nn.Module:
        for child in module.children() if recurse else ():
            child._apply(function)  # type: ignore[no-untyped-call]
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                tensors[name] = tensor if tensor is None else converted(tensor, function)  # type: ignore[assignment]
        return module

    torch.nn.Module._apply = apply  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.nn.Module._apply = before  # type: ignore[method-assign]
