"""The check of a workload: known-wrong candidates are caught with the right words, right ones pass, nothing stays."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from runner import check as check_module
from runner.check import Check, CheckSettings, check, default_tolerance
from runner.results.columns import CHECK, Phase, Status
from runner.workload import Mode, Policy, Precision, Workload

MODES = list(Mode)
FP32, BF16, AMP = Precision(), Precision("bf16", "bfloat16"), Precision("amp", "bfloat16", autocast=True)


class Net(nn.Module):
    """Two outputs, batch norm, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(64, 8)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.body(x)
        return self.head(hidden), hidden


def squares(output: Any) -> torch.Tensor:
    """A loss whose gradients aren't all alike."""
    return sum(t.float().square().mean() for t in (output if isinstance(output, tuple) else (output,)))  # type: ignore[return-value]


def workload(mode: Mode = Mode.inference, model: nn.Module | None = None, **values: Any) -> Workload:
    """A small workload; Adam in training."""
    torch.manual_seed(0)
    model = Net() if model is None else model
    optimizer = None
    if mode is Mode.training and list(model.parameters()):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    made = Workload("net", model, (torch.randn(8, 8),), mode=mode, loss=squares, optimizer=optimizer)
    return replace(made, **values)


def everything(w: Workload) -> list[Any]:
    """Whatever a check must leave alone."""
    tensors = [*w.parameters().values(), *w.buffers().values(), *w.args]
    values = [t.detach().clone() for t in tensors]
    values += [t.clone() for s in (w.optimizer.state.values() if w.optimizer else ()) for t in s.values()]
    rates = [m.p for m in w.model.modules() if isinstance(m, nn.Dropout)]  # type: ignore[attr-defined]
    return [*values, torch.get_rng_state(), *rates, np.random.get_state()[1].tolist(), random.getstate()]  # noqa: NPY002


def equal(one: list[Any], other: list[Any]) -> bool:
    """Whether two lists of tensors and values hold the same."""
    pairs = list(zip(one, other, strict=True))
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


# Candidates, each wrong in one way; given the model, they return what stands in its place


def transform(change: Callable[[Any], Any]) -> Callable[[nn.Module], Callable[..., Any]]:
    """A candidate that changes the output."""
    return lambda model: lambda *args: change(model(*args))


class ScaleGradient(torch.autograd.Function):
    """Identity with another gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        ctx.change = change
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.change(gradient), None


def regrade(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[nn.Module], Callable[..., Any]]:
    """A candidate that changes the gradients."""
    return transform(lambda output: tuple(ScaleGradient.apply(t, change) for t in output))


def noise(gradient: torch.Tensor) -> torch.Tensor:
    """Ten per cent noise."""
    return gradient + 0.1 * gradient.abs().mean() * torch.randn_like(gradient)


def zero_last(x: torch.Tensor) -> torch.Tensor:
    """The last row lost."""
    return torch.cat([x[:-1], torch.zeros_like(x[-1:])])


def one_nan(x: torch.Tensor) -> torch.Tensor:
    """NaN in one element."""
    mask = torch.zeros_like(x)
    mask.view(-1)[3] = float("nan")
    return x + mask


def frozen_statistics(model: nn.Module) -> Callable[..., Any]:
    """A candidate that forgets to write the running mean back."""
    norm = model.body[1]  # type: ignore[index]

    def run(*args: Any) -> Any:
        before = norm.running_mean.clone()
        output = model(*args)
        norm.running_mean.data.copy_(before)
        return output

    return run


def stale(model: nn.Module) -> Callable[..., Any]:
    """A candidate that gives its first output again."""
    kept: list[Any] = []

    def run(*args: Any) -> Any:
        output = model(*args)
        kept.append(tuple(t.detach() for t in output))
        return tuple(t - t.detach() + k for t, k in zip(output, kept[0], strict=True))

    return run


def first(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[nn.Module], Callable[..., Any]]:
    """A candidate that changes the first output only."""
    return transform(lambda output: (change(output[0]), *output[1:]))


WRONG = {
    "scaled": (first(lambda t: t * 1.05), "rmse"),
    "dropped": (transform(lambda output: output[:1]), "has 1 entries, eager 2"),
    "transposed": (first(lambda t: t.t().contiguous()), "rmse"),
    "reshaped": (first(lambda t: t.reshape(4, 16)), "shape [4, 16], eager [8, 8]"),
    "broadcastable": (first(lambda t: t[:1]), "shape [1, 8], eager [8, 8]"),
    "last row": (first(zero_last), "rmse"),
    "nan": (first(one_nan), "finite"),
    "dtype": (first(lambda t: t.double()), "dtype torch.float64"),
    "stale": (stale, "step2"),
}
WRONG_IN_TRAINING = {
    "gradient scaled": (regrade(lambda g: g * 1.2), "gradients"),
    "gradient noise": (regrade(noise), "gradients"),
    "statistics": (frozen_statistics, "buffers"),
}


@pytest.mark.parametrize("precision", [FP32, BF16, AMP])
@pytest.mark.parametrize("mode", MODES)
def test_right_candidate_passes_and_nothing_stays(mode: Mode, precision: Precision) -> None:
    """Eager itself passes; parameters, buffers, optimizer, inputs, RNG, dropout are as before; no gradients."""
    w = workload(mode).cast(precision)
    if mode is Mode.training:
        w.step(w.model)  # the optimizer has state by now
    before = everything(w)
    verdict = check(w, transform(lambda output: output)(w.model))  # type: ignore[arg-type]
    assert (verdict.accuracy, verdict.reference, verdict.flags) == ("pass", "fp64", ("dropout_off",))
    assert equal(before, everything(w))
    assert all(p.grad is None for p in w.parameters().values())


@pytest.mark.parametrize(
    ("mode", "precision"), [(Mode.inference, FP32), (Mode.training, FP32), (Mode.inference, BF16), (Mode.training, AMP)]
)
@pytest.mark.parametrize("name", WRONG)
def test_wrong_output_is_caught(name: str, mode: Mode, precision: Precision) -> None:
    """A wrong output is `fail_accuracy` and `wrong_output`, with the reason."""
    w = workload(mode).cast(precision)
    make, reason = WRONG[name]
    before = everything(w)
    verdict = check(w, make(w.model))  # type: ignore[arg-type]
    assert (verdict.accuracy, verdict.status) == ("fail_accuracy", Status.WRONG_OUTPUT)
    assert reason in verdict.reason
    assert equal(before, everything(w))


@pytest.mark.parametrize("precision", [FP32, BF16, AMP])
@pytest.mark.parametrize("name", WRONG_IN_TRAINING)
def test_wrong_training_is_caught(name: str, precision: Precision) -> None:
    """Wrong gradients and a buffer that isn't updated are caught, and named."""
    w = workload(Mode.training).cast(precision)
    make, where = WRONG_IN_TRAINING[name]
    verdict = check(w, make(w.model))  # type: ignore[arg-type]
    assert verdict.accuracy == "fail_accuracy"
    assert any(where in t.tensor for t in verdict.comparison.failures)


def undo(w: Workload, model: nn.Module) -> Callable[..., Any]:
    """A candidate that loses each optimizer step: at its next call the parameters are the first ones again."""
    saved = copy.deepcopy(model.state_dict())

    def run(*args: Any) -> Any:
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(saved[name])
        return model(*args)

    return run


def twice(w: Workload, model: nn.Module) -> Callable[..., Any]:
    """A candidate that steps the optimizer by itself when called again."""
    calls: list[int] = []

    def run(*args: Any) -> Any:
        calls.append(1)
        if w.optimizer is not None and len(calls) > 1:
            for p in model.parameters():
                p.grad = torch.full_like(p, 1e-3)
            w.optimizer.step()
            w.zero_grad()
        return model(*args)

    return run


@pytest.mark.parametrize("make", [undo, twice])
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_wrong_number_of_updates_is_caught(make: Any, optimizer: Any) -> None:
    """A lost optimizer step and an additional one show in the parameters."""
    w = workload(Mode.training)
    w.optimizer = optimizer(w.parameters().values(), lr=0.01)
    verdict = check(w, make(w, w.model))
    assert verdict.accuracy == "fail_accuracy"
    assert any(t.tensor.startswith("parameters.") for t in verdict.comparison.failures)


def test_idle_optimizer_and_zero_gradients_are_flagged() -> None:
    """An optimizer that does nothing and a loss without gradients are flagged."""
    w = workload(Mode.training)
    w.optimizer = torch.optim.SGD(w.parameters().values(), lr=0.0)
    assert "parameters_unchanged" in check(w, w.model).flags
    w = workload(Mode.training, loss=lambda output: output[0].sum() * 0)
    assert {"gradients_zero"} <= set(check(w, w.model).flags)


def test_candidate_that_writes_its_inputs_is_wrong() -> None:
    """A candidate mustn't change what eager leaves alone."""
    w = workload()

    def writing(x: torch.Tensor) -> Any:
        output = w.model(x)
        x.zero_()
        return output

    verdict = check(w, writing)
    assert verdict.accuracy == "fail_accuracy"
    assert "step1.inputs" in verdict.comparison.worst_tensor


def raising(error: BaseException) -> Callable[..., Any]:
    """Raises."""

    def run(*_: Any) -> Any:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "word", "status", "phase"),
    [
        (ValueError("no"), "fail_to_run", Status.RUN_ERROR, Phase.CHECK),
        (torch._dynamo.exc.Unsupported("no", "no"), "fail_to_run", Status.COMPILE_ERROR, Phase.COMPILE),
        (torch.OutOfMemoryError("no"), "OOM", Status.OOM, Phase.CHECK),
    ],
)
def test_failing_candidate(error: Exception, word: str, status: Status, phase: Phase) -> None:
    """A candidate that raises gives upstream's word, our status, the phase and the message; the state is put back."""
    w = workload(Mode.training)
    before = everything(w)
    verdict = check(w, raising(error))
    assert (verdict.accuracy, verdict.status, verdict.phase) == (word, status, phase)
    assert verdict.row()["error_type"] == type(error).__name__
    assert equal(before, everything(w))


@pytest.mark.parametrize(
    ("error", "word"), [(ValueError("no"), "eager_1st_run_fail"), (MemoryError("no"), "eager_1st_run_OOM")]
)
def test_failing_eager(error: Exception, word: str) -> None:
    """Eager that raises is eager's failure."""
    w = workload()
    w.model.forward = raising(error)  # type: ignore[attr-defined]
    assert check(w, w.model).accuracy == word


def test_failing_second_run() -> None:
    """The second eager run has words of its own."""
    w, calls = workload(), []
    forward = w.model.forward  # type: ignore[attr-defined]

    def run(x: torch.Tensor) -> Any:
        calls.append(1)
        if len(calls) > 2:
            raise ValueError("tired")
        return forward(x)

    w.model.forward = run  # type: ignore[attr-defined]
    assert check(w, w.model, CheckSettings(reference=False)).accuracy == "eager_2nd_run_fail"


@pytest.mark.parametrize(
    ("precision", "words", "expected"),
    [
        (Precision(), ("fp64",), "none"),
        (Precision("bf16", "bfloat16"), ("fp64",), "fp32"),
        (Precision("bf16", "bfloat16"), ("fp64", "fp32"), "none"),
    ],
)
def test_reference_without_memory(
    precision: Precision, words: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without memory for fp64 the reference is fp32 where that is wider, else none; a wrong result stays wrong."""
    real = check_module.reference.widened

    def widened(w: Workload, dtype: torch.dtype) -> Workload:
        if {torch.float64: "fp64", torch.float32: "fp32"}[dtype] in words:
            raise torch.OutOfMemoryError("no")
        return real(w, dtype)

    monkeypatch.setattr(check_module.reference, "widened", widened)
    w = workload().cast(precision)
    verdict = check(w, w.model)
    assert (verdict.accuracy, verdict.reference) == ("pass", expected)
    assert [flag for flag in verdict.flags if flag.startswith("fp")]
    assert check(w, WRONG["scaled"][0](w.model)).accuracy == "fail_accuracy"  # type: ignore[arg-type]


def test_reference_that_cannot_fit_is_not_tried() -> None:
    """The reference is left out, with a flag, if it can't fit in the free memory."""
    w = workload(Mode.training)
    verdict = check(w, w.model, CheckSettings(free_bytes=100))
    assert verdict.reference == "none"
    assert "fp64_reference_does_not_fit" in verdict.flags


def test_a_reference_that_outgrows_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its activations alone are too much: it is given up with a flag, and the kernel kills nobody."""

    class Wide(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.zeros(1 << 30 if x.dtype is torch.float64 else 1, 1, dtype=x.dtype).sum()

    few = SimpleNamespace(available=1 << 30)
    monkeypatch.setattr("psutil.virtual_memory", lambda: few)
    w = workload(model=Wide())
    verdict = check(w, w.model)
    assert (verdict.accuracy, verdict.reference) == ("pass", "none")
    assert "fp64_reference_oom" in verdict.flags
    assert torch.ones(1 << 29, dtype=torch.int8).numel() == 1 << 29  # and afterwards all is as before


def test_tiny_gradients_are_not_blind_spots() -> None:
    """Gradients far below the absolute tolerance are compared at their own scale."""
    w = workload(Mode.training, loss=lambda output: squares(output) * 1e-6)
    assert check(w, w.model).accuracy == "pass"
    assert check(w, WRONG_IN_TRAINING["gradient scaled"][0](w.model)).accuracy == "fail_accuracy"  # type: ignore[arg-type]


def test_one_baseline_serves_several_candidates() -> None:
    """Candidates are judged one after the other, each from the same state."""
    w = workload(Mode.training)
    with Check(w) as opened:
        assert opened.baseline() is None
        words = [opened.judge(f).accuracy for f in (w.model, WRONG["scaled"][0](w.model), w.model)]  # type: ignore[arg-type]
    assert words == ["pass", "fail_accuracy", "pass"]


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_candidate(backend: str) -> None:
    """A compiled model with active dropout passes, a wrong one doesn't, and its first program stays valid."""
    torch._dynamo.reset()
    w = workload(Mode.training)
    compiled = torch.compile(w.model, backend=backend)
    w.step(compiled)
    assert check(w, compiled).accuracy == "pass"
    assert check(w, WRONG["scaled"][0](compiled)).accuracy == "fail_accuracy"
    with torch._dynamo.config.patch(error_on_recompile=True):
        w.step(compiled)
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("precision", "mode", "device", "tolerance"),
    [
        (Precision(), Mode.inference, "cuda", 1e-4),
        (Precision(), Mode.training, "cpu", 1e-4),
        (Precision(), Mode.training, "cuda", 1e-3),
        (Precision("fp16", "float16"), Mode.inference, "cpu", 1e-3),
        (AMP, Mode.training, "cpu", 1e-3),
        (Precision("bf16", "bfloat16"), Mode.inference, "cpu", 1e-2),
    ],
)
def test_default_tolerance(precision: Precision, mode: Mode, device: str, tolerance: float) -> None:
    """The tolerance follows precision and mode; the policy wins."""
    w = workload(mode, precision=precision, device=device)
    assert default_tolerance(w) == tolerance
    assert default_tolerance(replace(w, policy=Policy(tolerance=0.5))) == 0.5


def test_row_has_the_columns_of_the_check() -> None:
    """A passing verdict fills the check's columns; a failing one the outcome's too."""
    w = workload()
    row = check(w, w.model).row()
    assert list(row) == [column.name for column in CHECK]
    assert all(type(row[column.name]) is column.type for column in CHECK)
    row = check(w, WRONG["nan"][0](w.model)).row()  # type: ignore[arg-type]
    assert (row["status"], row["phase"]) == ("wrong_output", "check")
    assert row["worst_tensor"] == "step1.output[0]"


class Silent(nn.Module):
    """Returns nothing that could be compared."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: torch.Tensor) -> Any:
        return self.output


@pytest.mark.parametrize("output", [None, "text", (), torch.empty(0)])
def test_an_output_without_a_number_is_no_pass(output: Any) -> None:
    """Where nothing was compared, nothing is called right."""
    silent = workload(model=Silent(output))
    assert check(silent, silent.model).accuracy == "reference_unusable"
