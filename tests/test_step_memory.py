"""Peak memory of a step: either side's own, whatever ran before it."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from runner.check import check
from runner.devices import detect
from runner.measure.settings import Measure
from runner.timing import step_peak_bytes
from runner.worker.devices import build_device
from runner.workload import Mode, Workload

WIDE = 4096
WEIGHTS = 4 * WIDE * WIDE
CUDA = [pytest.mark.gpu, pytest.mark.skipif(not detect.visible("cuda"), reason="needs a CUDA device")]


def training(device: str) -> Workload:
    """One layer of 64 MiB and its optimizer without state."""
    model = nn.Linear(WIDE, WIDE, bias=False, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    inputs = (torch.randn(2, WIDE, device=device),)
    return Workload("wide", model, inputs, mode=Mode.training, loss=torch.sum, optimizer=optimizer, device=device)


def workspaces(device: str) -> int:
    """Bytes that cuBLAS takes for itself with its first products, forward and backward; a CPU has no such thing."""
    if device == "cpu":
        return 0
    nn.Linear(8, 8, bias=False, device=device)(torch.ones(2, 8, device=device)).sum().backward()
    gc.collect()
    return torch.cuda.memory_allocated(device)


@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda", marks=CUDA)])
def test_nothing_from_before_belongs_to_a_step(name: str) -> None:
    """Both sides need the weights and their gradients, whatever check and first side left behind."""
    own = workspaces(name)
    workload, context = training(name), SimpleNamespace(device=build_device({"type": name}), measure=Measure())
    sides: list[Any] = [workload.model, lambda x: workload.model(x)]
    found = check(workload, sides[1])
    first, second = (step_peak_bytes(workload, f, context) for f in sides)  # type: ignore[arg-type]
    assert first == pytest.approx(2 * WEIGHTS + own, rel=0.1)
    assert second == pytest.approx(first, rel=0.05)
    assert found.ok, found
