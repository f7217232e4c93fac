"""What experiment `onnx` prints at the end: exporters side by side, and errors in buckets."""

from __future__ import annotations

import pytest

from experiments.onnx import Onnx
from runner.onnx_export.buckets import normalized
from runner.onnx_export.failure import missing_operators
from runner.results.columns import Row

#: Two messages of one kind -> what they have in common.
KINDS = {
    "Could not find an implementation for Gemm(13) node with name 'node_linear'": (
        "Could not find an implementation for Gemm(13) node with name 'node_linear_7'"
    ),
    "output 1 (3 at 0x7f1e5e3db190) of /tmp/a/model.py:12": "output 2 (14 at 0x55aa) of /home/b/net.py:9",
    "expected shape [1, 2] but got torch.Size([3, 4, 5])": "expected shape [7] but got torch.Size([1])",
    "Error when translating node %add_1 of size 12": "Error when translating node %mul of size 3",
    "Could not guard on data-dependent expression Eq(u0, 1)": "Could not guard on data-dependent expression Eq(u17, 2)",
}


@pytest.mark.parametrize("message", KINDS)
def test_messages_of_one_kind_are_one(message: str) -> None:
    """Addresses, files, sizes and generated names make no difference."""
    assert normalized(message) == normalized(KINDS[message]) != message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("No ONNX function found for aten.fft.default", "No ONNX function found for aten.sort.default"),
        ("Exporting the operator 'aten::fft_rfft' is not supported", "Exporting the operator 'aten::im2col' is not supported"),
        ("Could not find an implementation for Gemm(13)", "Could not find an implementation for Conv(11)"),
    ],
)
def test_operators_are_told_apart(one: str, other: str) -> None:
    """The name of an operator is what such an error is about."""
    assert normalized(one) != normalized(other)


def test_a_report_names_all_missing_operators() -> None:
    """Also those that the exception, which stops at the first, says nothing of."""
    report = """
Errors grouped by operator:

- `toy.twice.default`:     No decompositions registered. Example node: `%twice : [num_users=1]`. All nodes: `[twice]`
- `aten.foo.default`: Not there

## Decomposition comparison

- `not.this`: one
"""
    found = [(finding.message, finding.exception_message) for finding in missing_operators(report)]
    assert found == [("toy.twice.default", "No decompositions registered."), ("aten.foo.default", "Not there")]


def row(name: str, exporter: str, status: str = "ok", speedup: float | None = None, **more: object) -> Row:
    """A row as far as the summary reads it."""
    good = status == "ok"
    found = {"exported": good, "ran": good, "correct": good, "converged": good, **more}
    return {"name": name, "exporter": exporter, "status": status, "dev": "cpu", "speedup": speedup, **found}


def test_exporters_side_by_side() -> None:
    """Rates are of the models that an exporter got to see; the mean is over the models that all have a speedup of."""
    wrong = {"exported": True, "ran": True, "step": "compare", "error": "wrong"}
    failed = {"step": "export", "error_type": "DispatchError"}
    rows = [
        row("a", "torchscript", speedup=2.0),
        row("b", "torchscript", speedup=8.0),
        row("c", "torchscript", "compile_error", error="No function for x at 0x12", **failed),
        row("d", "torchscript", "load_error"),
        row("a", "dynamo", speedup=3.0),
        row("b", "dynamo", "wrong_output", **wrong),
        row("c", "dynamo", "compile_error", error="No function for x at 0xff", **failed),
        row("e", "dynamo", "unsupported"),
    ]
    head, *lines = Onnx.conclude(rows, 0)
    assert head.split() == ["exporter", "models", "exported", "ran", "correct", "common", "speedup", "of", "the", "common"]
    script, dynamo, *_ = [line.split() for line in lines]
    assert script == ["torchscript", "3", *["2", "(66.7", "%)"] * 3, "1", "2.0000x"]
    assert dynamo == ["dynamo", "3", *["2", "(66.7", "%)"] * 2, "1", "(33.3", "%)", "1", "3.0000x"]
    assert lines[2:] == [
        "3 cells failed in 2 ways (details in onnx_export_errors.csv):",
        "  2x export DispatchError: No function for x at ADDRESS (c)",
        "  1x compare wrong_output: wrong (b)",
    ]


def test_a_failure_of_one_exporter_is_no_failure_of_another() -> None:
    """A cell that never came to its exporter, or has none, is in no rate."""
    assert list(Onnx.conclude([row("a", "dynamo", "skipped"), {"name": "b", "status": "unsupported"}], 1)) == []
