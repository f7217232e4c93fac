"""Experiment tolerance: the distance formula, all dtypes, untouched copies, and what a wrong backend does to it."""

from __future__ import annotations

import copy
import math
from types import ModuleType
from typing import Any

import pytest
import torch

from experiments.tolerance import Tolerance
from runner import deviation
from runner.collect import Result
from runner.trees import Flat


def result(**tensors: torch.Tensor) -> Result:
    """A result with one group."""
    return Result({"output": Flat(tensors)})


def test_the_formula() -> None:
    """|reference - result| / (1 + |reference|), with the largest, the mean and the standard deviation of all."""
    ours = result(a=torch.tensor([1.0, 4.0]), b=torch.tensor(2))
    found = deviation.deviation(ours, result(a=torch.tensor([1.0, 3.0]), b=torch.tensor(1)))
    assert (found.max, found.num_elements, found.worst_tensor) == (0.5, 3, "b")
    assert found.mean == pytest.approx(0.25)
    assert found.std == pytest.approx(torch.tensor([0.0, 0.25, 0.5]).std(correction=0).item())


@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int64, torch.bool, torch.complex64, torch.uint8],
)
def test_all_dtypes(dtype: torch.dtype) -> None:
    """Every dtype has distances, computed in float64."""
    one = torch.ones(3).to(dtype)
    assert deviation.relative_errors(one, one.clone()).tolist() == [0, 0, 0]
    assert deviation.relative_errors(torch.zeros_like(one), one).tolist() == [0.5, 0.5, 0.5]


def test_values_that_are_not_finite() -> None:
    """NaN equals NaN and an infinity itself; on one side only it is infinitely far."""
    one = torch.tensor([math.nan, math.inf, -math.inf, 1.0, math.inf])
    other = torch.tensor([math.nan, math.inf, -math.inf, math.nan, 1.0])
    assert deviation.relative_errors(one, other).tolist() == [0, 0, 0, math.inf, math.inf]
    found = deviation.deviation(result(a=one), result(a=other))
    assert found.max == math.inf


def test_nothing_to_compare() -> None:
    """An output without elements has no distance."""
    assert deviation.deviation(result(a=torch.ones(0)), result(a=torch.ones(0))).max is None


@pytest.mark.parametrize("precision", ["fp32", "bf16", "amp"])
@pytest.mark.parametrize("mode", ["inference", "training"])
def test_a_right_backend(perform: Any, wrong: ModuleType, mode: str, precision: str) -> None:
    """On a CPU eager is its own reference; its distance from float64 is that of its precision."""
    row = perform(Tolerance(), wrong.Pair(), "pair", wrong.Wrong(), mode, precision).row
    assert (row["max"], row["mean"], row["std"]) == (0.0, 0.0, 0.0)
    low, high = (1e-9, 1e-5) if precision == "fp32" else (1e-5, 0.3)
    assert low < row["fp64_max"] == row["eager_fp64_max"] < high
    assert row["elements"] > 100


def test_a_wrong_backend(perform: Any, wrong: ModuleType) -> None:
    """How wrong is measured; where shapes differ there is no distance, and the row says so."""
    row = perform(Tolerance(), wrong.Pair(), "pair", wrong.Wrong(wrong.How.last_row_zeroed)).row
    assert row["max"] > 0.01
    assert row["worst_tensor"].startswith("step1.output")
    row = perform(Tolerance(), wrong.Pair(), "pair", wrong.Wrong(wrong.How.broadcastable)).row
    assert (row["status"], row["accuracy"]) == ("wrong_output", "fail_accuracy")
    assert "max" not in row


def test_the_copy_on_the_cpu_is_untouched(wrong: ModuleType) -> None:
    """Steps on the copy leave the model, its optimizer and its inputs as they are."""
    from runner.workload import LoadRequest, Mode

    workload = wrong.Pair().load("pair", LoadRequest(Mode.training, 4))
    workload.optimizer = torch.optim.Adam(workload.parameters().values())
    workload.step(workload.model)
    before = copy.deepcopy(dict(workload.parameters()))
    copied = deviation.on_cpu(workload)
    copied.step(copied.model)
    assert all(torch.equal(before[name], p) for name, p in workload.parameters().items())
    assert copied.optimizer is not workload.optimizer
    assert not any(torch.equal(before[name], p) for name, p in copied.parameters().items())


def test_iterations_are_positive() -> None:
    """What can't be done is refused by name."""
    with pytest.raises(ValueError, match=r"experiment.iterations=0"):
        Tolerance(iterations=0)
