"""Numerical comparison of what two sides computed, optionally against an fp64 reference.

The verdict on two tensors of equal shape follows the rule of `torch._dynamo.utils.same`; where that one is blind
(structure, shapes, non-finite values, scale) this one is stricter: `Rule` and `compare` say how.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from runner.results.tensors import Comparison, TensorResult
from runner.trees import Container, Flat, flatten

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1 << 22  # elements looked at together: bounds the fp64 temporaries to some 32 MB each
COSINE = 0.99  # least cosine similarity
NORM_RATIO = 1.15  # a cosine of 0.99 allows a relative difference of 0.14, and no more is allowed in length
CLEARLY = 0.9  # of the tolerance: margin for what rounding makes of the comparison itself
LOOSE = 4e-2  # how close a backend has to be to the reference where eager itself overflowed


_TINY, _SMALL, _NOISY = 10, 500, 1000  # elements up to which noise decides about an RMSE
_CONV_WEIGHT = 4  # dimensions of a convolution's weight
_HIGH_TOL = 2e-2  # a tolerance of this or more marks a model that is known to be noisy


@dataclass(frozen=True)
class Rule:
    """When two tensors count as equal.

    `tol` is the absolute and the relative tolerance; whole numbers and booleans have none. `scale` multiplies the
    absolute one (and the term tol/10 of the RMSE rule): values of magnitude 1e-6 would otherwise equal anything of that
    size. 1 is what `same` does.
    """

    tol: float = 1e-4
    scale: float = 1.0
    cosine: bool = False  # by direction and length instead of RMSE
    equal_nan: bool = True  # NaN equals NaN, inf equals inf of the same sign
    exact_dtype: bool = True
    small_tensors: bool = False  # multiplier 10 up to 10 elements, 8 up to 500
    max_multiplier: bool = False  # multiplier 10 everywhere
    near: bool = True  # leave magnitudes out where tensors are clearly equal: a fifth of the time
    iou: float | None = None  # bool tensors by intersection over union of at least this

    def multiplier(self, eager: torch.Tensor, backend: torch.Tensor) -> float:
        """How many times eager's distance from the reference the backend may have."""
        numel, pointwise = eager.numel(), eager.ndim == _CONV_WEIGHT and eager.shape[-2:] == (1, 1)
        if self.max_multiplier or (self.small_tensors and numel <= _TINY):
            return 10.0
        if self.small_tensors and numel <= _SMALL:
            return 8.0
        if numel < _NOISY or pointwise or self.tol >= _HIGH_TOL:
            return 3.0
        return 3.0 if backend.dtype in (torch.float16, torch.bfloat16) else 2.0


def compare(eager: Any, backend: Any, reference: Any = None, rule: Rule | None = None) -> Comparison:
    """Compare two trees of tensors and other values; `reference` is what eager gives in fp64, None for no reference.

    Tensors of equal shape, dtype and structure get the verdict of `torch._dynamo.utils.same`, except that

    - structure, lengths, keys, types of leaves, layouts, devices and shapes have to agree (nothing is broadcast),
      in the reference too, and a difference is a failure with its reason rather than an exception;
    - elements that aren't finite on some side have to agree within the tolerance by themselves, and RMSE is taken over
      the others: two NaN errors are no pass. Where eager alone overflowed, being close to the reference is;
    - the cosine rule looks at lengths too, so that a scaled output is not equal;
    - whole numbers and booleans (ids, counts, masks) have to be equal, for a token's neighbour is another token; a
      reference's say nothing here, not even by their shape;
    - complex tensors have RMSE errors as real ones do; numpy values are compared as tensors are, Python's complex
      numbers as floats;
    - all fields of every output class count, and any class can be looked into.

    Strides are not compared.
    """
    rule = rule or Rule()
    sides = [flatten(eager), flatten(backend)]
    if reference is not None:
        sides.append(flatten(reference))
    names = dict.fromkeys(name for side in sides for name in side)
    results = (_compare_leaf(name, sides, rule) for name in names)
    return Comparison(tuple(r for r in results if not r.ok or r.max_abs_err is not None))


def _compare_leaf(name: str, sides: list[Flat], rule: Rule) -> TensorResult:
    words = ("eager", "the backend", "the reference")
    lacking = [word for word, side in zip(words, sides, strict=False) if name not in side]
    if lacking:
        return TensorResult(name, False, f"missing in {' and '.join(lacking)}")
    leaves = [side[name] for side in sides]
    kinds = [_kind(leaf) for leaf in leaves]
    for word, kind in zip(words[1:], kinds[1:], strict=False):
        if kind != kinds[0]:
            return TensorResult(name, False, f"{word} has {kind}, eager {kinds[0]}")
    if isinstance(leaves[0], Container):
        return _compare_containers(name, leaves)
    if kinds[0] in ("a tensor", "an array"):
        return _compare_tensors(name, [_tensor(leaf) for leaf in leaves], rule)
    if kinds[0] in ("a float", "a complex"):
        return _compare_tensors(name, [_tensor(leaf) for leaf in leaves[:2]], rule)
    ok = bool(leaves[0] == leaves[1])
    return TensorResult(name, ok, "" if ok else f"{leaves[1]!r:.80} instead of {leaves[0]!r:.80}")


def _kind(leaf: Any) -> str:
    if isinstance(leaf, torch.Tensor):
        return "a tensor"
    if isinstance(leaf, (np.ndarray, np.generic)):
        return "an array"
    if isinstance(leaf, Container):
        return f"a {leaf.kind}"
    return f"a {type(leaf).__name__}"


def _compare_containers(name: str, containers: list[Container]) -> TensorResult:
    first = containers[0]
    for word, other in zip(("the backend", "the reference"), containers[1:], strict=False):
        if other.keys != first.keys:
            count = f"{word} has {len(other.keys)} entries, eager {len(first.keys)}"
            return TensorResult(name, False, count if len(other.keys) != len(first.keys) else f"{word} has other keys")
    return TensorResult(name)


def _tensor(leaf: Any) -> torch.Tensor:
    if isinstance(leaf, torch.Tensor):
        return leaf.detach()
    return torch.as_tensor(leaf, dtype=_python_dtype(leaf))


def _python_dtype(leaf: Any) -> torch.dtype | None:
    return {float: torch.float64, complex: torch.complex128}.get(type(leaf))


def _compare_tensors(name: str, tensors: list[torch.Tensor], rule: Rule) -> TensorResult:
    eager, backend = tensors[:2]
    if is_whole(eager) and is_whole(backend):
        tensors, rule = tensors[:2], replace(rule, tol=0.0, cosine=False)
    base = TensorResult(name, True, "", "x".join(map(str, eager.shape)), str(eager.dtype).removeprefix("torch."))
    reason = _form_difference(tensors, rule)
    if reason:
        return _failed(base, reason)
    eager, backend, *rest = [t.to_dense() if t.layout != torch.strided else t for t in tensors]
    if rule.iou is not None and eager.dtype == torch.bool:
        return _compare_masks(base, eager, backend, rule.iou)
    if not rule.exact_dtype:
        eager = eager.to(backend.dtype)
    reference = rest[0].to(eager.device) if rest and rest[0].dtype in (torch.float64, torch.complex128) else None
    near = _near(eager, backend, rule) if rule.near else None
    if near:
        return TensorResult(**{**base.row(), **near})
    sums = _Sums(eager, backend, reference, rule)
    return _judge(base, sums, rule, rule.multiplier(eager, backend))


def _failed(base: TensorResult, reason: str, **values: Any) -> TensorResult:
    return TensorResult(**{**base.row(), **values, "ok": False, "reason": reason})


def _form_difference(tensors: list[torch.Tensor], rule: Rule) -> str:
    """What differs between tensors before their values; dtype and device of a reference are free."""
    eager, backend = tensors[:2]
    for word, other in zip(("the backend", "the reference"), tensors[1:], strict=False):
        if other.shape != eager.shape:
            return f"{word} has shape {list(other.shape)}, eager {list(eager.shape)}"
        if other.layout != eager.layout:
            return f"{word} has layout {other.layout}, eager {eager.layout}"
    if rule.exact_dtype and backend.dtype != eager.dtype:
        return f"the backend has dtype {backend.dtype}, eager {eager.dtype}"
    if backend.device != eager.device:
        return f"the backend's lies on {backend.device}, eager's on {eager.device}"
    return ""


def _compare_masks(base: TensorResult, eager: torch.Tensor, backend: torch.Tensor, least: float) -> TensorResult:
    union = int((eager | backend).sum())
    iou = int((eager & backend).sum()) / union if union else 1.0
    return base if iou >= least else _failed(base, f"intersection over union {iou:.4f}, {least} is needed")


@cache
def _wide_dtype(device: torch.device) -> torch.dtype:
    """The dtype to take sums in: float64, or float32 on a device that has none."""
    try:
        torch.zeros((), dtype=torch.float64, device=device)
    except (TypeError, RuntimeError):
        return torch.float32
    return torch.float64


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    dtype = _wide_dtype(tensor.device)
    return tensor.to(dtype.to_complex() if tensor.is_complex() else dtype)


def _near(eager: torch.Tensor, backend: torch.Tensor, rule: Rule) -> dict[str, float] | None:
    """Magnitudes of tensors that are finite and clearly within the tolerance; None for those that need a closer look.

    Most tensors are, and this takes a fifth of the time.
    """
    if eager.dtype != backend.dtype or not (eager.is_floating_point() or eager.is_complex()):
        return None
    if torch.equal(eager, backend):
        return {"max_abs_err": 0.0, "max_rel_err": 0.0, "rmse": 0.0}
    highest = torch.zeros(2, dtype=_wide_dtype(eager.device), device=eager.device)
    total = torch.zeros_like(highest[0])
    for piece in _chunks(eager, backend):
        e, b = (_wide(t) if t.dtype.itemsize == 1 or t.dtype == torch.complex32 else t for t in piece)
        e, b = (t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for t in (e, b))
        error = (e - b).abs()
        part = torch.stack([error.max(), (error / (e.abs() + rule.scale)).max()]).to(highest.dtype)
        highest = torch.maximum(highest, part)
        total = total + error.square().sum(dtype=highest.dtype)
    absolute, relative, squares = *highest.tolist(), total.item()
    if not math.isfinite(absolute) or not relative <= CLEARLY * min(rule.tol, 0.1):
        return None
    return {"max_abs_err": absolute, "max_rel_err": relative, "rmse": math.sqrt(squares / eager.numel())}


def _comparable(tensor: torch.Tensor) -> torch.Tensor:
    """In a dtype that `torch.isclose` knows, unchanged where possible."""
    return _wide(tensor) if tensor.dtype.itemsize == 1 else tensor


def _chunks(*tensors: torch.Tensor | None) -> Iterator[tuple[Any, ...]]:
    """Equal flat pieces of each tensor."""
    flat = [None if t is None else torch.split(t.reshape(-1), CHUNK) for t in tensors]
    count = max(len(pieces) for pieces in flat if pieces is not None)
    for i in range(count):
        yield tuple(None if pieces is None else pieces[i] for pieces in flat)


@dataclass
class _Sums:
    """What one pass over the elements gives; read from the device once, at the end."""

    eager: torch.Tensor
    backend: torch.Tensor
    reference: torch.Tensor | None
    rule: Rule
    values: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = [self._part(*piece) for piece in _chunks(self.eager, self.backend, self.reference)]
        names = list(parts[0])
        table = torch.stack([torch.stack([part[n] for n in names]) for part in parts])
        largest, total = table.amax(0).tolist(), table.sum(0).tolist()
        self.values = {n: (largest if n.startswith("max") else total)[i] for i, n in enumerate(names)}

    def _part(self, eager: Any, backend: Any, reference: Any) -> dict[str, torch.Tensor]:
        """Sums of one chunk; those whose name starts with max are maxima."""
        rule = self.rule
        nan = rule.equal_nan or rule.cosine
        atol = rule.tol * rule.scale
        whole = is_whole(eager)
        if whole:
            far = eager != backend
        else:
            far = ~torch.isclose(_comparable(eager), _comparable(backend), rule.tol, atol, equal_nan=nan)
        e, b = _wide(eager), _wide(backend)
        r = e if reference is None else _wide(reference)
        both = e.isfinite() & b.isfinite()
        finite = both & r.isfinite()
        apart = (e - b).abs()
        if whole:
            apart = apart.maximum(far.to(apart.dtype))  # wide floats have gaps between large whole numbers
        error = _where(both, apart).masked_fill(far & ~both, math.inf)
        relative = error / (rule.scale + _where(e.isfinite(), e.abs()))
        found = {
            "far": far.sum(),
            "far_off": (far & ~finite).sum(),
            "num_finite": finite.sum(),
            "max_abs": _largest(error),
            "max_rel": _largest(relative),
            "max_e_off": ~e.isfinite().all(),
            "max_b_off": ~b.isfinite().all(),
            "max_r_off": ~r.isfinite().all(),
            "dd": _where(finite, apart.square()).sum(),
            "er": _where(finite, (e - r).abs().square()).sum(),
            "br": _where(finite, (b - r).abs().square()).sum(),
            "ee": _where(finite, e.abs().square()).sum(),
            "bb": _where(finite, b.abs().square()).sum(),
            "eb": _where(finite, e.conj() * b).sum().real,
            "not_loose": (~torch.isclose(r.to(b.dtype), b, LOOSE, LOOSE)).sum(),
        }
        return {name: value.to(error.dtype) for name, value in found.items()}

    def rms(self, name: str) -> float:
        """Root of the mean of a sum of squares over the finite elements."""
        return math.sqrt(self.values[name] / max(self.values["num_finite"], 1))

    @property
    def cosine(self) -> float:
        """Cosine similarity as torch defines it, with lengths of at least 1e-6."""
        lengths = [max(math.sqrt(self.values[name]), 1e-6) for name in ("ee", "bb")]
        return self.values["eb"] / (lengths[0] * lengths[1])

    @property
    def norm_ratio(self) -> float:
        """The longer one's length by the shorter one's."""
        low, high = sorted(max(math.sqrt(self.values[name]), 1e-6) for name in ("ee", "bb"))
        return high / low

    @property
    def eager_overflowed(self) -> bool:
        """Whether only eager holds values that aren't finite, and the backend is close to the reference."""
        v = self.values
        if self.reference is None or not v["max_e_off"]:
            return False
        return not v["max_b_off"] and not v["max_r_off"] and not v["not_loose"]


def _where(condition: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return torch.where(condition, value, torch.zeros((), dtype=value.dtype, device=value.device))


def _largest(value: torch.Tensor) -> torch.Tensor:
    return value.max() if value.numel() else value.sum()


def _judge(base: TensorResult, sums: _Sums, rule: Rule, multiplier: float) -> TensorResult:
    """Verdict on two tensors of the same form: within tolerance, else by cosine, else by RMSE."""
    values: dict[str, Any] = {
        "max_abs_err": sums.values["max_abs"],
        "max_rel_err": sums.values["max_rel"],
        "rmse": sums.rms("dd"),
        "cosine": sums.cosine,
    }
    if sums.reference is not None:
        allowed = multiplier * sums.rms("er") + rule.tol * rule.scale / 10
        values |= {"rmse_eager": sums.rms("er"), "rmse_backend": sums.rms("br"), "rmse_allowed": allowed}
    reason = ""
    if is_whole(sums.eager):
        count = values["num_differing"] = int(sums.values["far"])
        reason = f"{count} of {sums.eager.numel()} elements differ, and {base.dtype} has no tolerance" if count else ""
    elif sums.values["far"]:
        reason = _value_difference(sums, rule, values)
    return _failed(base, reason, **values) if reason else TensorResult(**{**base.row(), **values})


def _value_difference(sums: _Sums, rule: Rule, values: dict[str, Any]) -> str:
    """Why tensors of which some elements are beyond the tolerance differ; empty if they don't."""
    far, numel = int(sums.values["far"]), sums.eager.numel()
    if rule.cosine:
        finite = not sums.values["max_e_off"] and not sums.values["max_b_off"]
        ok = finite and values["cosine"] >= COSINE and sums.norm_ratio <= NORM_RATIO
        return "" if ok else f"cosine {values['cosine']:.4f}, lengths by {sums.norm_ratio:.3g}"
    if sums.reference is None:
        return f"{far} of {numel} elements beyond the tolerance {rule.tol:g}, no reference"
    if sums.eager_overflowed:
        return ""
    if sums.values["far_off"]:
        return f"{int(sums.values['far_off'])} of {numel} elements are not finite on one side only"
    if values["rmse_backend"] <= values["rmse_allowed"]:
        return ""
    return f"rmse {values['rmse_backend']:.3g} from the reference, {values['rmse_allowed']:.3g} allowed"


@dataclass(frozen=True)
class Distance:
    """How far two trees are apart, over all their floating elements together."""

    rms: float
    relative: float


def distance(tree: Flat, reference: Flat) -> Distance:
    """Root mean square of the difference, and its length relative to the reference's; for trees of one structure."""
    error = size = count = 0.0
    for name, leaf in tree.items():
        if not _is_floating(leaf):
            continue
        tensor = _dense(leaf)
        for mine, other in _chunks(tensor, _dense(reference[name]).to(tensor.device)):
            sums = _squares(_wide(mine), _wide(other)).tolist()
            error, size, count = error + sums[0], size + sums[1], count + sums[2]
    relative = math.sqrt(error / size) if size else (math.inf if error else 0.0)
    return Distance(math.sqrt(error / count) if count else 0.0, relative)


def _squares(tensor: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Squared difference, squared reference and count, over the elements that are finite on both sides."""
    plain = [(tensor - reference).abs().square().sum(), reference.abs().square().sum()]
    if all(value.isfinite() for value in plain):
        return torch.stack([*plain, torch.full_like(plain[0], tensor.numel())])
    finite = tensor.isfinite() & reference.isfinite()
    squares = [_where(finite, value.abs().square()).sum() for value in (tensor - reference, reference)]
    return torch.stack([*squares, finite.sum().to(squares[0].dtype)])


def magnitude(tree: Flat) -> float:
    """Largest finite absolute value of all floating tensors; 0 where there is none."""
    return max((_magnitude(t) for t in _floating(tree)), default=0.0)


def _magnitude(tensor: torch.Tensor) -> float:
    size = _largest(tensor.abs()).item()
    return size if math.isfinite(size) else _largest(_where(tensor.isfinite(), tensor.abs())).item()


def all_nan(tree: Flat) -> bool:
    """Whether some floating tensor consists of NaN only."""
    return any(bool(t.isnan().all()) for t in _floating(tree) if t.numel())


def any_nan(tree: Flat) -> bool:
    """Whether some floating tensor holds a NaN."""
    return any(bool(t.isnan().any()) for t in _floating(tree))


def _floating(tree: Flat) -> Iterator[torch.Tensor]:
    return (_dense(leaf) for leaf in tree.values() if _is_floating(leaf))


def _is_floating(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def is_whole(leaf: Any) -> bool:
    """Whether a leaf is a tensor of whole numbers or booleans."""
    return isinstance(leaf, torch.Tensor) and not _is_floating(leaf)


def whole_numbers(tree: Flat) -> Flat:
    """The tensors of whole numbers and booleans."""
    return Flat({path: leaf for path, leaf in tree.items() if is_whole(leaf)})


def forms(tree: Flat) -> dict[str, Any]:
    """What eager and a reference have in common; how many whole numbers a tensor has may hang on rounding."""
    return {path: None if is_whole(leaf) else _form(leaf) for path, leaf in tree.items()}


def _form(leaf: Any) -> Any:
    return getattr(leaf, "shape", leaf if isinstance(leaf, Container) else None)


def holds_values(leaf: Any) -> bool:
    """Whether a part of an output is a number or has some."""
    if isinstance(leaf, torch.Tensor):
        return leaf.numel() > 0
    return leaf.size > 0 if isinstance(leaf, np.ndarray) else isinstance(leaf, int | float | complex)


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach()
    return tensor.to_dense() if tensor.layout != torch.strided else tensor
