"""Models that draw random numbers: a backend that draws others is neither right nor wrong, and is asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch._inductor import config as inductor

from runner.check import CheckSettings, check
from runner.recheck import FLAG, may_help, recheck
from runner.results.reader import read_run
from runner.verdict import Verdict
from runner.workload import Mode, Workload

MODES = list(Mode)


class Drawing(nn.Module):
    """Multiplies by random numbers and adds others, as stochastic depth and sampling do."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        return hidden * (1 + torch.rand_like(hidden)) + torch.randn(hidden.shape)


def workload(mode: Mode) -> Workload:
    torch.manual_seed(0)
    model = Drawing()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1) if mode is Mode.training else None
    return Workload(
        "net", model, (torch.randn(8, 16),), mode=mode, loss=lambda y: y.square().mean(), optimizer=optimizer
    )


def redrawn(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` with other random numbers: one is drawn before."""

    def run(x: torch.Tensor) -> Any:
        torch.rand(3)
        return f(x)

    return run


def scaled(f: Callable[..., Any], factor: float) -> Callable[..., Any]:
    return lambda x: f(x) * factor


def repeating(f: Callable[..., Any]) -> Callable[..., Any]:
    """The same random numbers in each call."""

    def run(x: torch.Tensor) -> Any:
        torch.manual_seed(7)
        return f(x)

    return run


@pytest.mark.parametrize("mode", MODES)
def test_other_random_numbers_are_not_wrong(mode: Mode) -> None:
    """What another seed would do to eager is uncheckable, with a flag; the row enters no mean."""
    w = workload(mode)
    verdict = check(w, redrawn(w.model))
    assert (verdict.accuracy, verdict.status.value) == ("eager_two_runs_differ", "check_error")
    assert {"draws_random_numbers", "backend_draws_differently"} <= set(verdict.flags)
    assert "random numbers" in verdict.reason


@pytest.mark.parametrize("mode", MODES)
def test_mistakes_that_random_numbers_do_not_explain(mode: Mode) -> None:
    """A scaled output with eager's numbers, one that is far off, numbers that repeat themselves."""
    w = workload(mode)
    wrong = (scaled(w.model, 1.05), redrawn(scaled(w.model, 100)), repeating(w.model))
    assert [check(w, f).accuracy for f in wrong] == ["fail_accuracy"] * 3


def test_an_optimizer_that_does_nothing_draws_nothing() -> None:
    """Parameters are compared with what the optimizer makes of the candidate's own gradients."""
    w = workload(Mode.training)
    before = {name: p.detach().clone() for name, p in w.parameters().items()}

    def stuck(x: torch.Tensor) -> Any:
        for name, p in w.parameters().items():
            p.data.copy_(before[name])
        return redrawn(w.model)(x)

    assert check(w, stuck).accuracy == "fail_accuracy"


def context(factor: float) -> Any:
    """A cell whose backend is inductor with a factor on the output, and what its settings were meanwhile."""
    seen: list[bool] = []

    def prepare(w: Workload) -> Callable[..., Any]:
        seen.append(inductor.fallback_random)
        return scaled(torch.compile(w.model), factor)

    @contextmanager
    def phase(_phase: object) -> Iterator[None]:
        yield

    return SimpleNamespace(backend=SimpleNamespace(prepare=prepare), phase=phase, seen=seen)


@pytest.mark.parametrize("mode", MODES)
def test_a_second_check_decides(mode: Mode) -> None:
    """Compiled to draw as eager does, inductor is right, and inductor scaled by 1.05 is wrong; settings come back."""
    w, settings = workload(mode), CheckSettings()
    first = check(w, redrawn(w.model), settings)
    assert may_help(first)
    right, wrong = context(1.0), context(1.05)
    verdict = recheck(w, settings, first, right)
    assert (verdict.accuracy, FLAG in verdict.flags) == ("pass", True)
    assert "backend_draws_differently" not in verdict.flags
    verdict = recheck(w, settings, first, wrong)
    assert (verdict.accuracy, verdict.status.value) == ("fail_accuracy", "wrong_output")
    assert (right.seen, wrong.seen, inductor.fallback_random) == ([True], [True], False)


def test_a_second_check_that_fails_leaves_the_question_open() -> None:
    """A backend that can't be compiled so is uncheckable, not broken: it has run with the user's settings."""
    w = workload(Mode.inference)
    failing = context(1.0)
    failing.backend = SimpleNamespace(prepare=lambda _w: lambda _x: 1 / 0)
    found = recheck(w, CheckSettings(), replace(check(w, redrawn(w.model)), accuracy="fail_accuracy"), failing)
    assert found.accuracy == "eager_two_runs_differ"


def test_only_a_difference_of_random_numbers_is_asked_again() -> None:
    """Not a model that draws none, nor a backend that raised."""
    flags = ("draws_random_numbers",)
    assert not may_help(Verdict("fail_accuracy"))
    assert not may_help(Verdict("fail_to_run", flags=flags))
    assert not may_help(Verdict("pass", flags=flags))


NET = """
import torch

class Net(torch.nn.Module):
    def forward(self, x):
        return x * (1 + torch.rand_like(x)) + torch.randn(x.shape)

    def get_example_inputs(self):
        return (torch.ones(8, 16),)
"""


def test_speedup_of_a_model_that_draws(cli: Any, toys: tuple[str, str], tmp_path: Path) -> None:
    """Inductor is timed as it is and is right; a scaled output stays wrong."""
    (tmp_path / "net.py").write_text(NET)
    suite = ("suite=module", "suite.path=net.py", "suite.class_name=Net", "device=cpu")
    few = ("measure.max_pairs=10", "measure.warmup_max_pairs=3", "measure.retry_unconverged=0")
    done = cli(*toys, "--multirun", *suite, *few, "backend=inductor,scaled", "hydra.sweep.dir=out", timeout=600)
    right, wrong = read_run(tmp_path / "out").rows
    assert (right["status"], right["accuracy"]) == ("ok", "pass"), done.stderr
    assert {"draws_random_numbers", FLAG} <= set(right["flags"].split(";"))
    assert (wrong["status"], wrong["accuracy"]) == ("wrong_output", "fail_accuracy")
