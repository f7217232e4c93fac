"""The comparison of output trees, against `torch._dynamo.utils.same` as the oracle where that one is right."""

from __future__ import annotations

import collections
import dataclasses
import logging
import math
from typing import Any, NamedTuple

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch._dynamo.utils import same

from runner.compare_outputs import Rule, all_nan, any_nan, compare, distance, magnitude
from runner.results.tensors import TENSOR_COLUMNS, merge
from runner.trees import flatten

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
WHOLE = (torch.int64, torch.int32, torch.uint8, torch.bool)
SHAPES = ((), (0,), (1,), (7,), (3, 5), (600,), (2, 600), (8, 3, 1, 1), (40, 30, 1, 1))


@dataclasses.dataclass
class Output:
    """A model's output as some models define it."""

    logits: Any
    extra: Any = None


class Pair(NamedTuple):
    """A named tuple."""

    left: Any
    right: Any


class Box:
    """A class without equality, as detection models return."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Upstream logs every difference."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@st.composite
def leaves(draw: Any) -> tuple[Any, Any, Any]:
    """An eager tensor, a backend's and a reference of the same form."""
    dtype = draw(st.sampled_from((*FLOATS, *WHOLE)))
    shape = draw(st.sampled_from(SHAPES))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    exact = torch.randn(shape, generator=generator, dtype=torch.float64) * 10.0 ** draw(st.integers(-4, 2))
    if dtype in WHOLE:
        eager = exact.abs().to(dtype)
        backend = eager.clone()
        if draw(st.booleans()) and eager.numel():
            backend.view(-1)[0] = 1 - backend.view(-1)[0].to(torch.uint8)
        return eager, backend, eager.clone()
    noise = 10.0 ** draw(st.integers(-9, -1))
    factor = draw(st.sampled_from((0.0, 0.5, 1.5, 2.5, 4.0, 9.0, 11.0)))
    errors = [torch.randn(shape, generator=generator, dtype=torch.float64) * noise for _ in range(2)]
    return (exact + errors[0]).to(dtype), (exact + factor * errors[1]).to(dtype), exact


@st.composite
def rules(draw: Any) -> tuple[Rule, dict[str, Any]]:
    """A rule and the same for upstream."""
    tol = draw(st.sampled_from((0.0, 1e-5, 1e-4, 1e-3, 1e-2, 8e-2)))
    equal_nan, small, most = (draw(st.booleans()) for _ in range(3))
    iou = draw(st.sampled_from((None, 0.5, 0.99)))
    theirs = {
        "tol": tol,
        "equal_nan": equal_nan,
        "use_larger_multiplier_for_smaller_tensor": small,
        "force_max_multiplier": most,
        "use_iou_for_bool": iou is not None,
        "iou_threshold": iou or 0.99,
    }
    return Rule(tol, equal_nan=equal_nan, small_tensors=small, max_multiplier=most, iou=iou), theirs


def nest(draw: Any, items: list[Any], shape: int) -> Any:
    """The same containers around different leaves."""
    if shape == 0:
        return items[0]
    if shape == 1:
        return (items[0], [items[1], None, "x", 3, True])
    if shape == 2:
        return {"b": items[0], "a": collections.deque([items[1]])}
    return Pair(items[0], {"z": (items[1], 2.5)})


@settings(max_examples=2500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_agrees_with_same(data: Any) -> None:
    """Wherever structure and shapes agree, all values are finite and whole numbers equal, so is torch's own verdict."""
    drawn = [data.draw(leaves()), data.draw(leaves())]
    rule, theirs = data.draw(rules())
    shape = data.draw(st.integers(0, 3))
    eager, backend, reference = (nest(None, [leaf[i] for leaf in drawn], shape) for i in range(3))
    wide = reference if data.draw(st.booleans()) else None
    # Upstream takes eager for a missing reference: in float64 its RMSE rule then allows tol / 10 rather than tol.
    if wide is None and any(leaf[0].dtype == torch.float64 for leaf in drawn):
        wide = eager
    whole = [leaf for leaf in drawn[: 2 if shape else 1] if leaf[0].dtype in WHOLE]
    counted = [leaf for leaf in whole if rule.iou is None or leaf[0].dtype != torch.bool]
    equal = all(torch.equal(leaf[0], leaf[1]) for leaf in counted)
    assert compare(eager, backend, wide, rule).ok == (equal and same(eager, backend, wide, **theirs))


@settings(max_examples=500, deadline=None)
@given(leaves(), st.sampled_from((1e-4, 1e-2)), st.sampled_from((0.9, 1.0, 1.1, 10.0)))
def test_cosine_agrees_with_same(leaf: Any, tol: float, factor: float) -> None:
    """The cosine rule agrees with torch's own for tensors of about the same length."""
    eager, backend, _ = leaf
    if eager.dtype in WHOLE:
        return
    backend = backend * factor if factor < 2 else backend
    mine, theirs = compare(eager, backend, None, Rule(tol, cosine=True)), same(eager, backend, None, True, tol)
    norms = sorted(max(t.double().norm().item(), 1e-6) for t in (eager, backend))
    assert mine.ok == theirs or (theirs and norms[1] / norms[0] > 1.15)


@settings(max_examples=500, deadline=None)
@given(leaves(), st.sampled_from((math.nan, math.inf, -math.inf)), st.booleans())
def test_equal_values_that_are_not_finite_agree(leaf: Any, value: float, equal_nan: bool) -> None:
    """Equal non-finite values at equal places are equal, as torch's own function says within the tolerance."""
    eager, backend, _ = leaf
    if eager.dtype in WHOLE or not eager.numel():
        return
    for tensor in (eager, backend):
        tensor.view(-1)[0] = value
    rule = Rule(1e-3, equal_nan=equal_nan)
    if eager.dtype != torch.float64:
        assert compare(eager, backend, None, rule).ok == same(eager, backend, None, tol=1e-3, equal_nan=equal_nan)


# Where we differ on purpose; each first shows what torch's own function says.


def upstream(*args: Any, **kwargs: Any) -> str:
    """What `same` says: True, False or the name of its exception."""
    try:
        return str(bool(same(*args, **kwargs)))
    except Exception as error:  # noqa: BLE001
        return type(error).__name__


@pytest.mark.parametrize(
    ("eager", "backend", "theirs"),
    [
        (torch.ones(1), torch.ones(5, 5), "True"),
        (torch.ones(4, 1), torch.ones(4), "True"),
        (torch.ones(2, 3), torch.ones(3, 2), "RuntimeError"),
        (torch.ones(6), torch.ones(2, 3), "RuntimeError"),
    ],
)
def test_shapes_are_compared(eager: torch.Tensor, backend: torch.Tensor, theirs: str) -> None:
    """Shapes that broadcast, or that have as many elements, are different shapes."""
    assert upstream(eager, backend) == theirs
    found = compare((eager,), (backend,))
    assert not found.ok
    assert found.worst_tensor == "[0]"
    assert "shape" in found.reason


def test_short_reference_is_refused() -> None:
    """A reference with fewer entries cuts nothing off."""
    eager, backend = [torch.ones(2), torch.ones(2)], [torch.ones(2), torch.zeros(2)]
    reference = [torch.ones(2, dtype=torch.float64)]
    assert upstream(eager, backend, reference) == "True"
    found = compare(eager, backend, reference)
    assert "reference has 1 entries, eager 2" in found.reason


def test_reference_of_another_shape_is_refused() -> None:
    """The reference isn't broadcast either."""
    found = compare(torch.ones(3), torch.ones(3), torch.ones(1, dtype=torch.float64))
    assert "the reference has shape [1], eager [3]" in found.reason


@pytest.mark.parametrize(
    ("eager", "backend", "words"),
    [
        ([torch.ones(1)], torch.ones(1), "has a tensor, eager a sequence"),
        ({"a": 1}, {"b": 1}, "other keys"),
        ({"a": 1}, [1], "has a sequence, eager a mapping"),
        ((1, 2, 3), (1, 2), "has 2 entries, eager 3"),
        (torch.ones(2).to_sparse(), torch.ones(2), "layout"),
        (None, torch.ones(1), "has a tensor, eager a NoneType"),
        (1.0, torch.tensor(1.0), "has a tensor, eager a float"),
        (True, 1, "has a int, eager a bool"),
        (Box(torch.ones(1)), Output(torch.ones(1)), "has a Output, eager a Box"),
    ],
)
def test_structure_differs_without_an_exception(eager: Any, backend: Any, words: str) -> None:
    """Other containers, keys, lengths, layouts and types are failures that say what differs."""
    found = compare(eager, backend)
    assert not found.ok
    assert words in found.reason


def test_two_nan_errors_are_no_pass() -> None:
    """A NaN on both sides doesn't excuse the other elements, nor NaN in other places."""
    eager, reference = torch.tensor([math.nan, 1.0, 2.0]), torch.tensor([math.nan, 1.0, 2.0], dtype=torch.float64)
    for backend in (torch.tensor([math.nan, 5.0, 9.0]), torch.tensor([1.0, math.nan, 2.0])):
        assert upstream(eager, backend, reference, equal_nan=True) == "True"
        assert not compare(eager, backend, reference).ok


def test_infinite_elements_leave_the_rest_to_rmse() -> None:
    """A mask of -inf neither excuses nor condemns the other elements."""
    exact = torch.tensor([-math.inf, 1.0, 2.0, 3.0], dtype=torch.float64)
    eager = (exact + 1e-2).float()
    near, far = (exact - 1e-2).float(), (exact + 1.0).float()
    assert upstream(eager, near, exact) == "False"
    assert upstream(eager, far, exact, equal_nan=True) == "True"
    assert compare(eager, near, exact).ok
    assert not compare(eager, far, exact).ok


def test_backend_may_be_better_than_an_overflowing_eager() -> None:
    """Where eager has NaN or inf and the reference has not, being close to the reference is right."""
    exact = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    for value in (math.nan, math.inf):
        eager = torch.tensor([1.0, value, 3.0])
        assert upstream(eager, exact.float(), exact) == "True"
        assert compare(eager, exact.float(), exact).ok
        assert not compare(eager, exact.float() * 2, exact).ok
    assert upstream(torch.tensor([1.0, math.inf]), torch.tensor([9.0, 9.0]), torch.ones(2).double()) == "True"


def test_cosine_looks_at_lengths() -> None:
    """An output of twice the length, or a scalar of another value, has a perfect cosine and is wrong."""
    eager = torch.randn(50, generator=torch.Generator().manual_seed(0))
    for one, other in ((eager, eager * 2), (torch.tensor(1.0), torch.tensor(100.0))):
        assert upstream(one, other, None, True) == "True"
        found = compare(one, other, None, Rule(cosine=True))
        assert not found.ok
        assert "lengths" in found.reason


def test_complex_has_a_reference() -> None:
    """Complex tensors are held against a complex128 reference."""
    exact = torch.complex(torch.linspace(1, 2, 9).double(), torch.linspace(3, 4, 9).double())
    eager, backend = ((exact + e).to(torch.complex64) for e in (1e-3, -1e-3))
    assert upstream(eager, backend, exact) == "False"
    assert compare(eager, backend, exact).ok
    assert not compare(eager, (exact + 1e-2).to(torch.complex64), exact).ok
    assert compare(1 + 2j, 1 + 2j).ok
    assert upstream(1 + 2j, 1 + 2j) == "RuntimeError"


def test_numpy_is_compared_as_tensors_are() -> None:
    """NumPy scalars have a tolerance, arrays have shapes."""
    assert upstream(np.float32(1), np.float32(1.00001)) == "False"
    assert compare(np.float32(1), np.float32(1.00001)).ok
    assert not compare(np.ones(1), np.ones(3)).ok
    assert not compare(np.ones(3), torch.ones(3).double()).ok


def test_every_field_of_an_output_class_counts() -> None:
    """Also the logits of a question-answering output, and any class that can be looked into."""
    outputs = pytest.importorskip("transformers.modeling_outputs")
    make = outputs.QuestionAnsweringModelOutput
    eager, backend = (make(loss=torch.ones(()), start_logits=torch.ones(3) * k) for k in (1, 2))
    assert upstream(eager, backend) == "True"
    found = compare((eager,), (backend,))
    assert found.worst_tensor == "[0].start_logits"
    assert compare(eager, eager, eager).ok


@pytest.mark.parametrize("make", [Output, Box, lambda t: Pair(t, t), lambda t: torch.distributions.Normal(t, 1.0)])
def test_classes_are_looked_into(make: Any) -> None:
    """Dataclasses, named tuples, plain objects and distributions compare by what they hold."""
    one, other = make(torch.tensor([1.0, 2.0])), make(torch.tensor([1.0, 2.5]))
    assert compare(one, make(torch.tensor([1.0, 2.0]))).ok
    assert not compare(one, other).ok


def test_cyclic_object_ends() -> None:
    """An object that holds itself is looked into once."""
    one, other = Box(torch.ones(1)), Box(torch.ones(1))
    one.me, other.me = one, other  # type: ignore[attr-defined]
    assert compare(one, other).ok


def test_scale_makes_small_values_count() -> None:
    """Gradients of 1e-6 that are scaled by 1.2 hide below an absolute tolerance, and not below a scaled one."""
    exact = torch.linspace(-1, 1, 2000, dtype=torch.float64) * 1e-6
    eager, backend = exact.float(), (exact * 1.2).float()
    assert upstream(eager, backend, exact) == "True"
    assert compare(eager, backend, exact).ok
    assert not compare(eager, backend, exact, Rule(scale=1e-6)).ok


@pytest.mark.parametrize("rule", [Rule(1e-4), Rule(1e-2), Rule(1e-2, cosine=True), Rule(max_multiplier=True)])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.uint16, torch.uint64])
def test_whole_numbers_have_no_tolerance(rule: Rule, dtype: torch.dtype) -> None:
    """A token's id that is off by one is another token, however large it is and whatever a reference says."""
    eager, backend = (torch.arange(20_000 + i, 20_016 + i).to(dtype) for i in range(2))
    if dtype is torch.int64:
        assert upstream(eager, backend, None, rule.cosine, rule.tol) == "True"
        eager, backend = eager + 2**60, backend + 2**60
    found = compare(eager, backend, torch.zeros(3), rule).worst
    assert found is not None
    assert (found.ok, found.num_differing, found.rmse, found.max_abs_err) == (False, 16, 1.0, 1.0)
    assert "16 of 16 elements differ" in found.reason
    assert compare(eager, eager.clone(), backend[:3], rule).ok


def test_dtype_rule() -> None:
    """Another dtype is a difference unless the rule allows it."""
    eager, backend = torch.ones(3), torch.ones(3).bfloat16()
    assert "dtype" in compare(eager, backend).reason
    assert compare(eager, backend, None, Rule(exact_dtype=False)).ok


def test_sparse_and_views() -> None:
    """Sparse tensors compare by their dense values, views by what they show."""
    dense = torch.eye(3)
    assert compare(dense.to_sparse(), dense.to_sparse()).ok
    assert compare(dense.to_sparse(), dense.to_sparse(), dense.double().to_sparse()).ok
    assert not compare(dense.to_sparse(), (dense * 1.1).to_sparse()).ok
    assert compare(dense.t()[1:], dense[1:]).ok
    assert compare(torch.ones(1).expand(3), torch.ones(3)).ok


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.uint16, torch.bool, torch.complex64])
def test_unusual_dtypes(dtype: torch.dtype) -> None:
    """Dtypes for which torch has little arithmetic compare as well."""
    one, other = torch.tensor([1.0, 0.0]).to(dtype), torch.tensor([1.0, 1.0]).to(dtype)
    assert compare(one, one.clone()).ok
    assert not compare(one, other).ok


def test_magnitudes() -> None:
    """A result carries the errors, both sides' distance from the reference and what was allowed."""
    eager, backend = torch.tensor([1.0, 3.0]), torch.tensor([1.0, 4.0])
    reference = torch.tensor([1.0, 3.5], dtype=torch.float64)
    found = compare({"x": eager, "y": eager}, {"x": eager, "y": backend}, {"x": reference, "y": reference})
    worst = found.worst
    assert worst is not None
    assert (found.worst_tensor, found.max_abs_err, found.max_rel_err) == ("['y']", 1.0, 0.25)
    assert worst.rmse == pytest.approx(math.sqrt(0.5))
    assert worst.rmse_eager == worst.rmse_backend == pytest.approx(math.sqrt(0.125))
    assert worst.rmse_allowed == pytest.approx(3 * math.sqrt(0.125) + 1e-5)
    assert worst.cosine == pytest.approx(13 / math.sqrt(170))


def test_rows_fit_the_columns() -> None:
    """A comparison is plain data under the names and types of the columns of tensors.csv."""
    found = merge([compare(torch.ones(2, 3), torch.ones(2, 3)), compare([torch.ones(2)], [torch.zeros(2)])])
    assert len(found.rows()) == 2
    (row,) = found.rows(failures_only=True)
    assert list(row) == [column.name for column in TENSOR_COLUMNS]
    assert all(row[column.name] is None or type(row[column.name]) is column.type for column in TENSOR_COLUMNS)


def test_large_tensors_go_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at a tensor piece by piece gives the same figures."""
    generator = torch.Generator().manual_seed(0)
    eager, backend = (torch.randn(1001, generator=generator) for _ in range(2))
    whole = compare(eager, backend, eager.double()).rows()[0]
    monkeypatch.setattr("runner.compare_outputs.CHUNK", 100)
    pieces = compare(eager, backend, eager.double()).rows()[0]
    assert {k: pytest.approx(v) for k, v in pieces.items()} == whole


def test_helpers_over_trees() -> None:
    """Distance, magnitude and NaN of a whole tree."""
    tree, reference = flatten([torch.tensor([3.0, 1.0]), 5]), flatten([torch.tensor([3.0, 2.0]).double(), 5])
    assert distance(tree, reference).rms == pytest.approx(math.sqrt(0.5))
    assert distance(tree, reference).relative == pytest.approx(math.sqrt(1 / 13))
    assert magnitude(tree) == 3.0
    assert not any_nan(tree)
    assert any_nan(flatten(torch.tensor([math.nan, 1.0])))
    assert not all_nan(flatten(torch.tensor([math.nan, 1.0])))
    assert all_nan(flatten(torch.tensor([math.nan])))
