"""Operator logs: upstream's notation and ours are read and written, and a hostile file does nothing but fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.operators.parser import LogError, parse
from runner.operators.values import BadLine, InputSet, Name, TensorSpec

UPSTREAM = """Operator: aten._log_softmax.default
cnt: 1, ((T([64, 1000], f16), 1, False), {})
Operator: aten.mm.default
cnt: 12, ((T([64, 2048], f16), T([2048, 1000], f16, stride=(1, 2048))), {})
Operator: aten.sum.SymInt
cnt: 4, ((T([64, 8], f32), [0], True), {'dtype': f32})
Operator: aten._to_copy.default
cnt: 2, ((T([], i64),), {'dtype': f16, 'layout': torch.strided, 'device': "torch.device('cpu')", 'pin_memory': None})
Operator: aten.masked_fill.Scalar
cnt: 3, ((T([2, 1], b8), -inf), {})
Operator: aten.gelu.default
cnt: 5, ((ST([2, 3], f32, torch.sparse_coo, True, nnz=4), 1e-05), {'approximate': "tanh"})
"""


def one(line: str) -> InputSet | BadLine:
    """The only entry of a log of one line."""
    return parse(f"Operator: aten.add.Tensor\n{line}")["aten.add.Tensor"][0]


def good(line: str) -> InputSet:
    """The same, which has to be readable."""
    found = one(line)
    assert isinstance(found, InputSet), found
    return found


def test_upstream_notation() -> None:
    """Every form that upstream writes is read; a renamed overload has its present name."""
    found = parse(UPSTREAM, "up.txt")
    assert list(found) == [
        "aten._log_softmax.default",
        "aten.mm.default",
        "aten.sum.dim_IntList",
        "aten._to_copy.default",
        "aten.masked_fill.Scalar",
        "aten.gelu.default",
    ]
    entries = [entries[0] for entries in found.values()]
    assert all(isinstance(entry, InputSet) for entry in entries)
    softmax, mm, total, copy, fill, gelu = (entry for entry in entries if isinstance(entry, InputSet))
    assert softmax.args == (TensorSpec((64, 1000), "float16"), 1, False)
    assert mm.args[1].stride == (1, 2048)
    assert mm.count == 12
    assert total.kwargs == {"dtype": Name("float32")}
    assert copy.kwargs == {
        "dtype": Name("float16"),
        "layout": Name("strided"),
        "device": "torch.device('cpu')",
        "pin_memory": None,
    }
    assert fill.args[1] == float("-inf")
    assert gelu.args[0].sparse
    assert gelu.kwargs == {"approximate": "tanh"}
    assert gelu.where == "up.txt:12"
    assert {entry.narrowest for entry in (softmax, mm, total)} == {"float16"}


def test_a_line_survives_writing_and_reading() -> None:
    """What upstream's notation can't say stands in a comment, and upstream's part is what upstream would write."""
    text = "cnt: 2, ((T([4, 8], f32), T([3], i64)), {'memory_format': torch.channels_last})"
    line = f"{text}  # {{'grad': [0], 'range': {{1: (-1, 3)}}}}"
    found = good(line)
    assert [spec.grad for spec in found.tensors] == [True, False]
    assert found.tensors[1].bounds == (-1, 3)
    assert found.line() == line
    assert good(text).line() == text


def test_joined_sets_add_counts_and_widen_bounds() -> None:
    """Sets of two models that differ in bounds only are one."""
    a = good("cnt: 2, ((T([3], i64),), {})  # {'range': {0: (0, 3)}}")
    b = good("cnt: 3, ((T([3], i64),), {})  # {'range': {0: (-1, 2)}}")
    assert a.key == b.key
    assert a.joined(b).count == 5
    assert a.joined(b).tensors[0].bounds == (-1, 3)


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("cnt: 1, ((__import__('os').system('touch pwned'),), {})", 27),
        ("cnt: 1, ((open('pwned', 'w'),), {})", 11),
        ("cnt: 1, ((T([2], f32).numpy(),), {})", 22),
        ("cnt: 1, ((torch.hub.load,), {})", 11),
        ("cnt: 1, ((lambda: 0,), {})", 11),
        ("cnt: 1, ((T([2, f32),), {})", 20),
        ("cnt: 1, ((T([-1], f32),), {})", 11),
        ("cnt: 1, ((T([2], f33),), {})", 18),
        ("cnt: 1, ((T([2], f32, stride=(1, 1)),), {})", 11),
        ("cnt: 0, ((T([2], f32),), {})", 6),
        ("cnt: x, ((T([2], f32),), {})", 6),
        ("cnt: 1, ((T([2], f32),), {}) and more", 30),
        ("cnt: 1, ((T([2], f32),)", 24),
        ("cnt: 1, ((1;2), {})", 12),
        ("cnt: 1, " + "(" * 10_000, 41),
        ("cnt: 1, ((" + "9" * 100_000 + ",), {})", 11),
        ("cnt: 1, ((T([2], f32),), {1: 2})", 32),
    ],
)
def test_a_hostile_line_only_fails(line: str, column: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It becomes an entry that says where it is wrong; nothing is run, opened or imported, and no memory is filled."""
    monkeypatch.chdir(tmp_path)
    found = one(line)
    assert isinstance(found, BadLine)
    assert found.why.startswith(f"log:2:{column}: "), found.why
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("cnt: 1, ((1,), {})", "log:1:1: 'Operator: NAME' expected, found 'cnt: 1, ((1,), {})'"),
        ("#!/bin/sh\nrm -rf /", "log:2:1: 'Operator: NAME' expected, found 'rm -rf /'"),
        ("Operator: os.system('x')", "log:1:11: an operator's name such as aten.add.Tensor expected, found"),
        ("Operator: aten.add.Tensor\nnonsense", "log:2:1: 'Operator: NAME' or 'cnt: N, (ARGS, KWARGS)' expected"),
    ],
)
def test_a_file_that_is_no_log_is_refused(text: str, error: str) -> None:
    """With file, line and column."""
    with pytest.raises(LogError) as raised:
        parse(text)
    assert str(raised.value).startswith(error)
