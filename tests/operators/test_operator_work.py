"""What an operator's call asks of the device at least, which programs are equal, and what a refusal means."""

from __future__ import annotations

import pytest
import torch

from runner.operators import domains
from runner.operators.inputs import Call, Setting, make, resolve
from runner.operators.outcome import Reason, failure
from runner.operators.parser import parse
from runner.operators.report import conclusion
from runner.operators.roofline import flops, moved_bytes, total_bytes
from runner.operators.sides import Program, backward_reads, copies
from runner.operators.values import InputSet, TensorSpec


def call(operator: str, arguments: str, **setting: object) -> Call:
    """The inputs of one line."""
    entry = parse(f"Operator: {operator}\ncnt: 1, ({arguments}, {{}})  # {{'grad': [0]}}")[operator][0]
    assert isinstance(entry, InputSet), entry
    return make(resolve(operator), entry, Setting(**setting))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("operator", "arguments", "expected"),
    [
        ("aten.add.Tensor", "(T([10], i64), T([10], i64))", 3 * 80),
        ("aten.add_.Tensor", "(T([10], f32), T([10], f32))", 3 * 40),
        ("aten.add.Tensor", "(T([10, 10], f32, stride=(1, 0)), T([10, 10], f32))", 40 + 2 * 400),
        ("aten.copy_.default", "(T([10], f32), T([10], f32))", 2 * 40),
        ("aten.zeros_like.default", "(T([10], f32),)", 40),
        ("aten.fill_.Scalar", "(T([10], f32), 1.0)", 40),
        ("aten.bernoulli_.float", "(T([10], f32), 0.5)", 40),
        ("aten.bernoulli.default", "(T([10], f32),)", 2 * 40),
        ("aten.embedding.default", "(T([1000, 4], f32), T([3], i64))", 2 * 48 + 24),
        # one score of each of 6 rows; the indices; the loss and the total weight
        ("aten.nll_loss_forward.default", "(T([6, 50], f32), T([6], i64), None, 1, -100)", 24 + 48 + 8),
    ],
)
def test_bytes(operator: str, arguments: str, expected: int) -> None:
    """Each input and output once, but for what an operator only overwrites or reads a part of."""
    found = call(operator, arguments)
    out = found.operator(*found.args, **found.kwargs)
    outputs = [t for t in (out if isinstance(out, tuple) else (out,)) if isinstance(t, torch.Tensor)]
    assert moved_bytes(found, outputs) == expected


def test_bytes_of_a_sparse_tensor() -> None:
    """Its values and where they are, not the zeros: the gradient of a table of embeddings."""
    assert total_bytes([torch.eye(4).to_sparse()]) == 4 * 4 + 2 * 4 * 8


def test_operations_are_of_floating_point() -> None:
    """A product of whole numbers has none."""
    for dtype, expected in (("f32", 2 * 2 * 3 * 4), ("i64", None)):
        found = call("aten.mm.default", f"(T([2, 3], {dtype}), T([3, 4], {dtype}))")
        assert flops(found, found.operator(*found.args)) == expected


@pytest.mark.parametrize(
    ("operator", "arguments", "expected"),
    [
        ("aten.mm.default", "(T([2, 3], f32), T([3, 4], f32))", [(2, 4), (3, 4)]),
        ("aten.tanh.default", "(T([5], f32),)", [(5,), (5,)]),
        ("aten.add.Tensor", "(T([5], f32), T([5], f32))", [(5,)]),
    ],
)
def test_what_a_backward_reads(operator: str, arguments: str, expected: list[tuple[int, ...]]) -> None:
    """What the forward keeps for it, and the gradient of the output: of a sum the gradient alone."""
    found = call(operator, arguments)
    read = backward_reads(Program.of(found).function, copies(found.tensors, found.grads))
    assert sorted(tuple(tensor.shape) for tensor in read) == expected


def test_equal_programs() -> None:
    """The same words of a log are two programs where the precision takes the place of one of their dtypes only."""
    line = "Operator: aten.ones_like.default\ncnt: 1, ((T([], f32),), {'pin_memory': False})"
    entries = [parse(line, narrowest=narrowest)["aten.ones_like.default"][0] for narrowest in ("float32", "bfloat16")]
    half, full = (_programs(entries, precision) for precision in ("float16", "float64"))
    assert half[0].form != half[1].form
    assert full[0].form == full[1].form


def _programs(entries: list[object], precision: str) -> list[Program]:
    operator = resolve("aten.ones_like.default")
    return [Program.of(make(operator, entry, Setting(precision=precision))) for entry in entries]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "second", "ends"),
    [((4000, 8), (4, 8, 8), [1000, 2000, 3000, 4000]), ((4, 8, 8), (8, 10), [2, 5, 7, 10]), ((8, 6), (6, 8), [1, 3, 4, 6])],
)
def test_the_groups_of_a_product(first: tuple[int, ...], second: tuple[int, ...], ends: list[int]) -> None:
    """They end one after the other, and the last one where there are no more rows, or columns, or terms of the sum."""
    given = {"self": TensorSpec(first, "bfloat16"), "mat2": TensorSpec(second, "bfloat16")}
    assert domains.group_ends("_grouped_mm", "offs", given, 4) == ends


def test_every_row_of_a_grouped_product_has_a_result() -> None:
    """The rows of the last group are multiplied too."""
    found = call("aten._grouped_mm.default", "(T([64, 16], bf16), T([4, 16, 8], bf16), T([4], i32))", precision="bfloat16")
    rows, matrices, _ = found.tensors
    expected = torch.bmm(rows.view(4, 16, 16), matrices).view(64, 8)
    assert torch.allclose(found.operator(*found.args), expected, rtol=0.02, atol=0.02)


def test_a_dtype_that_the_operator_itself_refuses() -> None:
    """It is no fault of the backend, although torch says it while tracing; another error while compiling is one."""
    refusal = RuntimeError("Expected inputs of BF16 type but got mat_a.dtype=torch.float16")
    assert failure(refusal, Reason.COMPILE).reason is Reason.NO_KERNEL
    assert failure(RuntimeError("not implemented for it"), Reason.COMPILE).reason is Reason.COMPILE


def test_the_conclusion_counts_operators_that_ended_early() -> None:
    """Their input sets are among those that were not measured, under the status of their row."""
    good = {"name": "a", "status": "ok", "recorded": 9, "selected": 3, "share_pct": 100.0, "failures": 0, "reasons": ""}
    some = {**good, "share_pct": 100 / 3, "failures": 4, "reasons": "3 wrong output; 1 eager failed"}
    dead = {"name": "b", "status": "crashed", "recorded": 7, "selected": 5}
    lines = list(conclusion([good, some, dead]))
    assert lines[0] == "input sets: 4 of 11 measured (36.4 %), 25 recorded"
    assert lines[1] == (
        "not measured: 5 input sets of operators that ended as crashed, 3 samples wrong output, 1 samples eager failed"
    )
