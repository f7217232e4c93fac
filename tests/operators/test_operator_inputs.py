"""Inputs made from a log are valid for their operators, have the recorded form, and are the same each time."""

from __future__ import annotations

import pytest
import torch

from runner.errors import Unsupported
from runner.operators.inputs import Call, Setting, make, precise, resolve
from runner.operators.parser import parse
from runner.operators.values import InputSet

#: An operator and arguments whose values can't be just anything.
DEMANDING = {
    "aten.embedding.default": "(T([10, 4], f32), T([2, 3], i64))",
    "aten.embedding_dense_backward.default": "(T([2, 3, 4], f32), T([2, 3], i64), 10, -1, False)",
    "aten.gather.default": "(T([3, 5], f32), 1, T([3, 2], i64))",
    "aten.scatter.src": "(T([3, 5], f32), 1, T([3, 4], i64), T([3, 4], f32))",
    "aten.scatter_.src": "(T([3, 5, 4], f32), 1, T([3, 2, 4], i64, stride=(2, 1, 0)), T([3, 2, 4], f32))",
    "aten.scatter_add.default": "(T([7, 2], f32), 0, T([4, 2], i64), T([4, 2], f32))",
    "aten.index.Tensor": "(T([5, 7, 3], f32), [None, T([4], i64)])",
    "aten.index_put.default": "(T([5, 7], f32), [T([5, 7], b8)], T([6], f32))",
    "aten.index_put_.default": "(T([5, 7], f32), [T([4], i64), T([4], i64)], T([4], f32), True)",
    "aten.index_select.default": "(T([5, 7], f32), 1, T([20], i64))",
    "aten.index_add.default": "(T([5, 7], f32), 0, T([3], i64), T([3, 7], f32))",
    "aten.nll_loss_forward.default": "(T([6, 4], f32), T([6], i64), None, 1, -100)",
    "aten.nll_loss_backward.default": "(T([], f32), T([6, 4], f32), T([6], i64), None, 1, -100, T([], f32))",
    "aten.convolution.default": "(T([2, 3, 8, 8], f32), T([4, 3, 3, 3], f32), None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)",
    "aten.native_layer_norm_backward.default": (
        "(T([2, 3, 8], f32), T([2, 3, 8], f32), [8], T([2, 3, 1], f32), T([2, 3, 1], f32), T([8], f32), T([8], f32), "
        "[True, True, True])"
    ),
    "aten.native_batch_norm.default": (
        "(T([2, 3, 4], f32), T([3], f32), T([3], f32), T([3], f32), T([3], f32), False, 0.1, 1e-05)"
    ),
    "aten.max_pool2d_with_indices_backward.default": (
        "(T([1, 2, 4, 4], f32), T([1, 2, 8, 8], f32), [2, 2], [2, 2], [0, 0], [1, 1], False, T([1, 2, 4, 4], i64))"
    ),
    "aten.linalg_cholesky_ex.default": "(T([6, 6], f32),)",
    "aten.linalg_inv_ex.default": "(T([6, 6], f32),)",
    "aten.log.default": "(T([50], f32),)",
    "aten.sqrt_.default": "(T([50], f32),)",
    "aten.acos.default": "(T([50], f32),)",
    "aten.binary_cross_entropy.default": "(T([50], f32), T([50], f32))",
    "aten.floor_divide.default": "(T([50], i64), T([50], i64))",
    "aten.bernoulli.default": "(T([50], f32),)",
    "aten._embedding_bag.default": "(T([9, 4], f32), T([6], i64), T([3], i64))",
    "aten.take.default": "(T([3, 4], f32), T([9], i64))",
    "aten._grouped_mm.default": "(T([32, 16], f32), T([4, 16, 8], f32), T([4], i32))",
    "aten.mkldnn_rnn_layer_backward.default": (
        "(T([5, 2, 4], f32), T([32, 4], f32), T([32, 8], f32), T([32], f32), T([32], f32), T([2, 8], f32), "
        "T([2, 8], f32), T([5, 2, 8], f32), T([2, 8], f32), T([2, 8], f32), T([5, 2, 8], f32), None, None, False, "
        "2, 8, 1, True, True, False, [], False, T([0], u8))"
    ),
}


def call(operator: str, arguments: str, **setting: object) -> Call:
    """The inputs of one line."""
    entry = parse(f"Operator: {operator}\ncnt: 1, ({arguments}, {{}})")[operator][0]
    assert isinstance(entry, InputSet), entry
    return make(resolve(operator), entry, Setting(**setting))  # type: ignore[arg-type]


@pytest.mark.parametrize("operator", DEMANDING)
def test_values_are_valid(operator: str) -> None:
    """The operator runs, and what it gives is finite."""
    found = call(operator, DEMANDING[operator])
    out = found.operator(*found.args, **found.kwargs)
    tensors = [t for t in (out if isinstance(out, tuple) else (out,)) if isinstance(t, torch.Tensor)]
    assert all(t.isfinite().all() for t in tensors if t.numel())


def test_the_form_is_the_recorded_one() -> None:
    """Sizes, strides, dtypes, bounds of integers, and which tensors get a gradient."""
    line = "cnt: 1, ((T([4, 6], f32, stride=(1, 4)), T([4, 1], i32)), {'alpha': 2})  # {'grad': [0], 'range': {1: (5, 6)}}"
    entry = parse(f"Operator: aten.add.Tensor\n{line}")["aten.add.Tensor"][0]
    assert isinstance(entry, InputSet)
    made = make(resolve("aten.add.Tensor"), entry, Setting())
    a, b = made.tensors
    assert (tuple(a.shape), a.stride(), a.dtype) == ((4, 6), (1, 4), torch.float32)
    assert (b.dtype, int(b.min()) >= 5, int(b.max()) <= 6) == (torch.int32, True, True)
    assert (made.grads, made.kwargs) == ((0,), {"alpha": 2})


def test_the_largest_numbers_are_bounds_too() -> None:
    """A mask made of the least int64 is recorded with bounds at the end of the range."""
    line = "cnt: 1, ((T([2], i64), 31), {})  # {'range': {0: (-9223372036854775808, -9223372036854775791)}}"
    entry = parse(f"Operator: aten.full_like.default\n{line}")["aten.full_like.default"][0]
    assert isinstance(entry, InputSet)
    assert make(resolve("aten.full_like.default"), entry, Setting()).tensors[0].max() < -(2**61)


def test_the_same_seed_gives_the_same_values() -> None:
    """Inputs are made twice: to check and to measure."""
    a, b, c = (call("aten.relu.default", "(T([99], f32),)", seed=seed).tensors[0] for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_expanded_tensors_stay_expanded() -> None:
    """A dimension of stride 0 takes no memory."""
    (tensor,) = call("aten.relu.default", "(T([3, 1000000000000], f32, stride=(1, 0)),)").tensors
    assert tensor.stride() == (1, 0)


@pytest.mark.parametrize(
    ("dtype", "narrowest", "precision", "expected"),
    [
        ("float16", "float16", "bfloat16", "bfloat16"),
        ("float32", "float16", "bfloat16", "float32"),
        ("float32", "float16", "float64", "float64"),
        ("float16", "float16", "float32", "float32"),
        ("float32", "float32", "float16", "float16"),
        ("int64", "float32", "float16", "int64"),
    ],
)
def test_precision_replaces_the_narrowest_floats(dtype: str, narrowest: str, precision: str, expected: str) -> None:
    """What a model kept wide on purpose stays wide: statistics of a batch norm in half precision."""
    assert precise(dtype, narrowest, precision) == expected


def test_channels_last() -> None:
    """Contiguous tensors of four dimensions get that memory format; others keep their strides."""
    found = call("aten.cat.default", "([T([1, 2, 3, 4], f32), T([1, 2, 3, 4], f32)], 1)", channels_last=True)
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in found.tensors)


@pytest.mark.parametrize(
    ("operator", "arguments", "words"),
    [
        ("aten.gone_away.default", "(1,)", "has no operator aten.gone_away.default"),
        ("aten.relu.gone", "(T([2], f32),)", "has no operator aten.relu.gone"),
        ("aten.relu.default", "(T([2], f32), 2)", "takes 1 arguments now, 2 were recorded"),
        ("aten.relu.default", "(ST([2], f32),)", "sparse tensors are recorded without their indices"),
        ("aten.relu.default", "(T([4000000], f32),)", "the inputs take 0.016 GB"),
    ],
)
def test_what_cannot_be_made_is_refused(operator: str, arguments: str, words: str) -> None:
    """With a reason, before any memory is taken."""
    with pytest.raises(Unsupported, match=words):
        call(operator, arguments, free_bytes=10_000_000)
