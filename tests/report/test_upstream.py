"""The formats of PyTorch's benchmarks: fastrnns and functional autograd."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from runner.errors import UsageError
from runner.report.sources import Part
from runner.report.upstream import write_autograd, write_oss, write_pep
from runner.results.columns import Row


def row(name: str, forward: float | None, backward: float | None = None, status: str = "ok") -> Row:
    """A row with the columns that the formats read."""
    key = {"name": name, "cell_id": name, "status": status, "suite": "fastrnns", "family": "lstm"}
    return {**key, "avg_fwd": forward, "avg_bwd": backward}


def part(folder: Path, *rows: Row) -> Part:
    """The rows as a part of a report."""
    return Part("run", folder, "forward_backward", (), (), rows)


def test_oss(tmp_path: Path) -> None:
    """Means by group and runner; a backward is a group of its own; what isn't right is left out."""
    stream = io.StringIO()
    rows = (
        row("cudnn", 1.0, 2.0),
        row("bound", 0.5),
        row("jit", 9.0, 9.0, "wrong_output"),
        row("py", None, None, "oom"),
    )
    write_oss([part(tmp_path, *rows)], stream)
    assert json.loads(stream.getvalue()) == {"lstm": {"cudnn": 1.0, "bound": 0.5}, "lstm-backward": {"cudnn": 2.0}}


def test_oss_has_one_number_per_runner(tmp_path: Path) -> None:
    """Two rows of one runner, as a sweep has them, are refused instead of one being lost."""
    with pytest.raises(UsageError, match="lstm jit was measured more than once: give the folder of one job"):
        write_oss([part(tmp_path, row("jit", 1.0), row("jit", 2.0))], io.StringIO())


def test_pep(tmp_path: Path) -> None:
    """A line per sample in milliseconds; the mean where no samples were kept; the model without a family by suite."""
    (tmp_path / "samples").mkdir()
    np.savez(tmp_path / "samples" / "cudnn.npz", fwd_tB=[0.001, 0.002], bwd_tB=[0.004])
    stream = io.StringIO()
    write_pep([part(tmp_path, row("cudnn", 1.5, 4.0), {**row("mlp", 7.0), "family": None})], stream)
    lines = stream.getvalue().splitlines()
    assert all(line.startswith("Caffe2Observer ") for line in lines)
    found = [json.loads(line.removeprefix("Caffe2Observer ")) for line in lines]
    assert [(line["metric"], line["value"]) for line in found] == [
        ("lstm-cudnn", "1.0"),
        ("lstm-cudnn", "2.0"),
        ("lstm-backward-cudnn", "4.0"),
        ("fastrnns-mlp", "7.0"),
    ]
    assert {(line["type"], line["unit"]) for line in found} == {("NET", "ms")}


def test_nothing_to_export(tmp_path: Path) -> None:
    """Rows without forward times are no such report."""
    with pytest.raises(UsageError, match="avg_fwd"):
        write_oss([part(tmp_path, row("mlp", None))], io.StringIO())


def derivative(task: str, api: str, mean: float | None, var: float | None = 1e-6, **values: str) -> Row:
    """A row with the columns that the table reads."""
    key = {"name": "detr", "cell_id": f"{task}{api}", "status": "ok" if mean else "unsupported"}
    return {**key, "task": task, "api": api, "mean": mean, "var": var, **values}


def test_autograd(tmp_path: Path) -> None:
    """Upstream's table under upstream's names, in full digits; models stand together, what failed is left out."""
    stream = io.StringIO()
    rows = (
        derivative("vjp", "functional", 0.1),
        derivative("vjp", "func", 0.25, None, name="resnet18"),
        derivative("vjp", "func", 1 / 3),
        derivative("vjp", "compiled", 0.2, backend="inductor"),
        derivative("jvp", "func", None),
        derivative("vhp", "func", 0.5, status="wrong_output"),
    )
    write_autograd([part(tmp_path, *rows)], stream)
    assert stream.getvalue().splitlines() == [
        "| model | task | mean | var |",
        "| -- | -- | -- | -- |",
        "| detr | vjp | 0.1 | 1e-06 |",
        "| detr | functorch vjp | 0.3333333333333333 | 1e-06 |",
        "| detr | inductor vjp | 0.2 | 1e-06 |",
        "| resnet18 | functorch vjp | 0.25 | nan |",
    ]


def test_autograd_has_one_row_per_task(tmp_path: Path) -> None:
    """Two rows of one name are refused, and so are rows without means."""
    row_ = derivative("vjp", "func", 0.1)
    with pytest.raises(UsageError, match="detr functorch vjp was measured more than once: give the folder of one job"):
        write_autograd([part(tmp_path, row_, row_)], io.StringIO())
    with pytest.raises(UsageError, match="column mean"):
        write_autograd([part(tmp_path, row("mlp", 1.0))], io.StringIO())
