"""Further baselines of experiment=speedup, and what the first steps and the check leave behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from experiments import speedup
from runner.check import CheckSettings, check
from runner.results.columns import Phase
from runner.results.reader import read_run
from runner.workload import Mode, Workload


def context() -> Any:
    """As much of a context as steps and check need; `phases` has what was entered."""
    phases: list[Phase] = []

    @contextmanager
    def phase(which: Phase) -> Iterator[None]:
        phases.append(which)
        yield

    device = SimpleNamespace(synchronize=lambda: None)
    calls = {"agree": lambda value: value, "expect_call": lambda *_, **__: None, "phase": phase}
    return SimpleNamespace(device=device, options={}, phases=phases, **calls)


def test_one_that_fails_or_is_wrong(cli: Any, tmp_path: Any, toys: tuple[str, str]) -> None:
    """It costs its own columns, with a flag that names it; the backend's and the other's numbers stand."""
    words = ("model=mlp", "batch_size=4", "mode=training", "backend=eager", "measure=quick", "measure.max_time_s=1")
    given = "experiment.against=[eager,scaled,onnxruntime,toy_backend]"
    done = cli(*toys, *words, "measure.retry_unconverged=0", given, "hydra.run.dir=out")
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = read_run(tmp_path / "out").rows
    assert (row["status"], row["accuracy"]) == ("ok", "pass")
    assert row["speedup"] > 0
    assert row["speedup_vs_toy_backend"] > 0
    assert {"scaled_wrong", "onnxruntime_failed"} <= set(row["flags"].split(";"))
    assert [row[f"{name}_latency"] for name in ("scaled", "onnxruntime")] == [None, None]
    assert [row[f"speedup_vs_{name}"] for name in ("scaled", "onnxruntime")] == [None, None]


class Halving(nn.Module):
    """Changes its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.div_(2)
        return x + 1


def test_inputs_are_what_they_were() -> None:
    """After eager's first steps the inputs are put back, and so they are before each later one; others are left."""
    changed = Workload("halving", Halving(), (torch.full((4,), 8.0),))
    left = Workload("linear", nn.Linear(4, 4), (torch.ones(2, 4),))
    steps = speedup._eager([changed, left], context())
    assert changed.args[0].tolist() == [8.0] * 4
    changed.step(changed.model)
    steps.reset()
    assert changed.args[0].tolist() == [8.0] * 4
    assert [reset is None for reset in steps.resets] == [False, True]


def test_what_dropout_compiles_twice_is_compiling() -> None:
    """The check puts dropout off, which is another program: its first call counts as compile time, not as checking."""
    found = {}
    for rate in (0.0, 0.5):
        model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(rate)).train()
        workload = Workload("net", model, (torch.randn(2, 4),), mode=Mode.training, loss=torch.sum)
        given = context()
        verdict = check(workload, model, CheckSettings(), given.phase(Phase.COMPILE))
        assert verdict.ok, verdict
        found[rate] = given.phases
    assert found == {0.0: [], 0.5: [Phase.COMPILE]}
