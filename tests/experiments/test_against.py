"""Further baselines of experiment=speedup, and what the first steps and the check leave behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from experiments import speedup
from runner.cells import Cell
from runner.check import CheckSettings, check
from runner.compiling.compilations import Compilations
from runner.results.columns import Phase
from runner.results.reader import read_run
from runner.verdict import Verdict
from runner.workload import Mode, Workload


def context() -> Any:
    """As much of a context as steps and check need; `phases` has what was entered."""
    phases: list[Phase] = []
    flags: list[str] = []

    @contextmanager
    def phase(which: Phase) -> Iterator[None]:
        phases.append(which)
        yield

    device = SimpleNamespace(synchronize=lambda: None, free_memory_bytes=lambda: None)
    calls = {"agree": lambda value: value, "expect_call": lambda *_, **__: None, "phase": phase}
    calls["note_flags"] = lambda *words: flags.extend(words)
    return SimpleNamespace(device=device, options={}, phases=phases, flags=flags, seed=0, **calls)


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


def linear(*sizes: int) -> tuple[nn.Module, speedup.Steps]:
    """One model and its steps at several batch sizes."""
    model = nn.Linear(4, 4)
    steps = [Workload("linear", model, (torch.ones(size, 4),), batch_size=size) for size in sizes]
    return model, speedup.Steps(steps, [None] * len(steps))


def test_a_baseline_is_checked_at_every_batch_size() -> None:
    """As the backend is: one that is wrong at the second size alone is wrong."""
    model, steps = linear(4, 2)
    compiled = speedup.Compiled(model, Compilations())
    assert speedup._what_is_wrong(model, steps, compiled, context()) == ""
    wrong = speedup._what_is_wrong(lambda x: model(x) * (1 + (len(x) == 2)), steps, compiled, context())
    assert wrong == "wrong"


def test_the_time_of_a_baseline_over_processes() -> None:
    """The median of each process's, as the other times."""
    measure = {"ci_level": 0.95, "practical": 0.01}
    rows = [{"speedup": 2.0, "speedup_vs_aot_eager": 2.0, "aot_eager_latency": ms} for ms in (1.0, 2.0, 9.0)]
    asked = speedup.Speedup(against=["eager", "aot_eager"])
    row = asked._combined(rows, Cell({"model": {"name": "m"}, "measure": measure}))  # type: ignore[arg-type]
    assert row["aot_eager_latency"] == 2.0


def test_what_dynamo_refuses_to_compile_is_not_checked() -> None:
    """Beyond its limit the sizes run in eager, which is equal to itself: no pass, and a flag."""
    limit = torch._dynamo.config.recompile_limit
    model, steps = linear(*range(2, 4 + limit))
    torch._dynamo.reset()
    compiled = speedup.Compiled(torch.compile(model, backend="eager", dynamic=False), Compilations())
    for counted, one in enumerate(steps.varied):
        given = context()
        assert bool(speedup._if_limited(Verdict("pass"), compiled, given)) is (counted > limit) is bool(given.flags)
        one.step(compiled.call)
    row = speedup._if_limited(Verdict("pass"), compiled, given)
    assert (row["status"], given.flags[-1]) == ("check_error", "recompile_limit")
    assert f"recompile limit of {limit} was reached" in row["error"]
    assert speedup._if_limited(Verdict("fail_accuracy"), compiled, given) == {}
    compiled.limited = True  # from the first calls on: timed as it was checked, unless the check had no dropout
    assert speedup._if_limited(Verdict("pass"), compiled, given) == {}
    assert speedup._if_limited(Verdict("pass", flags=("dropout_off",)), compiled, given)["status"] == "check_error"
    assert speedup._what_is_wrong(model, steps, compiled, given) == "unchecked"
