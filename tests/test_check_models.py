"""The check of models that make it hard: random, non-deterministic, writing their inputs, NaN, odd outputs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn

from runner import state
from runner.check import Check, CheckSettings, check
from runner.results.columns import Status
from runner.workload import Mode, Precision, Workload


def workload(model: nn.Module, mode: Mode = Mode.inference, **values: Any) -> Workload:
    """A workload around `model`; Adam in training."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01) if mode is Mode.training else None
    return replace(Workload("odd", model, (torch.randn(8, 8),), mode=mode, optimizer=optimizer), **values)


class Drawing(nn.Module):
    """Unseeded noise: another output in each call."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.generator = torch.Generator()
        self.generator.seed()
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.size * torch.randn(x.shape, generator=self.generator)


def test_eager_noise_is_data() -> None:
    """What eager does to itself is allowed, and no more."""
    w = workload(Drawing(0.01), args=(torch.randn(2000, 8),))
    settings = CheckSettings(reference=False)
    verdict = check(w, w.model, settings)
    assert (verdict.accuracy, verdict.status) == ("pass_within_eager_noise", Status.OK)
    assert "eager_not_deterministic" in verdict.flags
    wrong = check(w, lambda x: w.model(x) * 1.05, settings)
    assert (wrong.accuracy, wrong.status) == ("eager_two_runs_differ", Status.CHECK_ERROR)


def test_little_noise_excuses_nothing() -> None:
    """Noise below the tolerance doesn't excuse a wrong result."""
    w = workload(Drawing(1e-6))
    assert check(w, w.model).accuracy == "pass"
    wrong = check(w, lambda x: w.model(x) * 1.05)
    assert wrong.accuracy == "fail_accuracy"
    assert "eager_not_deterministic" in wrong.flags


class InPlace(nn.Module):
    """Changes its input, and gives a view of it."""

    def forward(self, x: torch.Tensor, extra: dict[str, Any]) -> Any:
        x.mul_(2)
        extra.pop("scale")
        return x[1:], x


def test_changed_inputs_are_seen_by_no_other_run() -> None:
    """A model that changes its inputs is flagged; each run starts from the same ones, and so does the caller."""
    x, extra = torch.randn(4, 4), {"scale": 2}
    before = x.clone()
    w = workload(InPlace(), args=(x, extra))
    verdict = check(w, w.model)
    assert (verdict.accuracy, verdict.flags) == ("pass", ("mutates_inputs",))
    assert torch.equal(x, before)
    assert extra == {"scale": 2}
    clean = check(w, lambda x, _: (x[1:] * 2, x * 2))
    assert clean.accuracy == "fail_accuracy"
    assert "inputs" in clean.reason


class Choosy(nn.Module):
    """Knows one input only."""

    def __init__(self, known: torch.Tensor) -> None:
        super().__init__()
        self.known = known.clone()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.allclose(x.float(), self.known.float()):
            raise ValueError("unsorted")
        return x + 1


def test_inputs_are_varied_only_where_the_model_can_do_with_it() -> None:
    """A model that can't run on rolled inputs gets the same ones in each step, and a flag."""
    x = torch.randn(4, 4)
    verdict = check(workload(Choosy(x), args=(x,)), lambda x: x + 1)
    assert (verdict.accuracy, verdict.flags) == ("pass", ("inputs_not_varied",))


class Uncopyable(nn.Identity):
    """Can't be deep-copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("one of a kind")


def test_model_that_cannot_be_copied() -> None:
    """A model that can't be copied is checked without a reference, and flagged."""
    w = workload(Uncopyable())
    verdict = check(w, w.model)
    assert (verdict.accuracy, verdict.reference) == ("pass", "none")
    assert "model_not_copyable" in verdict.flags


class Unstable(nn.Module):
    """Computes something else in float64."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.dtype == torch.float64 else x


def test_unusable_reference_is_no_pass() -> None:
    """Eager far from its own reference is an answer of its own."""
    verdict = check(workload(Unstable()), Unstable())
    assert (verdict.accuracy, verdict.status) == ("reference_unusable", Status.CHECK_ERROR)
    assert "away from its own fp64 reference" in verdict.reason


def test_nan_throughout_is_no_pass() -> None:
    """An output that is NaN throughout can't be compared; NaN in places can, and is flagged."""
    w = workload(nn.Identity(), args=(torch.full((4, 4), float("nan")),))
    verdict = check(w, w.model)
    assert verdict.accuracy == "reference_unusable"
    assert "nan_in_eager" in verdict.flags
    w.args[0][:, 1:] = 1.0
    verdict = check(w, w.model)
    assert (verdict.accuracy, verdict.flags) == ("pass", ("nan_in_eager",))
    assert check(w, lambda x: x.nan_to_num()).accuracy == "fail_accuracy"


@dataclass
class Output:
    """A dataclass output."""

    logits: torch.Tensor
    names: list[str]
    count: int


class Odd(nn.Module):
    """Sparse gradients, a dataclass output, things that aren't tensors, a view of a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 4, sparse=True)

    def forward(self, ids: torch.Tensor) -> Output:
        return Output(self.table(ids), ["a", "b"], len(ids))


def test_odd_outputs_and_sparse_gradients() -> None:
    """Outputs of any kind are compared, what is no tensor by equality; sparse gradients too."""
    model = Odd()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    values = {"optimizer": optimizer, "loss": lambda out: out.logits.square().mean()}
    w = workload(model, Mode.training, args=(torch.arange(6).reshape(2, 3),), **values)
    verdict = check(w, w.model)
    assert (verdict.accuracy, verdict.reference, verdict.flags) == ("pass", "fp64", ())
    wrong = check(w, lambda ids: replace(model(ids), names=["a", "c"]))
    assert "'c' instead of 'b'" in wrong.reason
    assert check(w, lambda ids: replace(model(ids), logits=model(ids).logits * 1.1)).accuracy == "fail_accuracy"


def test_gradients_that_are_noise_are_flagged() -> None:
    """A loss that doesn't depend on the parameters gives gradients of noise, which condemn nobody."""
    model = nn.Sequential(nn.Linear(8, 64), nn.LayerNorm(64, elementwise_affine=False))
    w = workload(model, Mode.training, loss=lambda output: output.mean())
    verdict = check(w, lambda x: nn.functional.layer_norm((x @ model[0].weight.t()) + model[0].bias, (64,)))
    assert verdict.accuracy == "pass"
    assert "gradients_are_noise" in verdict.flags


class Sampling(nn.Module):
    """Draws from the global generator, otherwise in float64 than in float32."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn_like(x)


def test_model_that_draws_random_numbers() -> None:
    """Such a model is flagged and judged without the reference that drew differently."""
    w = workload(Sampling())
    verdict = check(w, w.model)
    assert (verdict.accuracy, verdict.reference) == ("pass", "none")
    assert {"draws_random_numbers", "reference_draws_differently"} <= set(verdict.flags)
    assert check(w, lambda x: x + torch.randn_like(x) * 2).accuracy == "fail_accuracy"


class Remembering(nn.Module):
    """Keeps a tensor and a count outside of buffers, and replaces a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(8))
        self.hidden: torch.Tensor | None = None
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.total = self.total + x.sum(0)
        self.hidden = x if self.hidden is None else self.hidden + x
        return self.hidden * self.calls


def test_state_outside_of_buffers_is_put_back() -> None:
    """Attributes and replaced buffers go back to what they were, the buffer as the very same tensor."""
    w = workload(Remembering())
    buffer = w.model.total  # type: ignore[attr-defined]
    assert check(w, w.model).accuracy == "pass"
    assert (w.model.calls, w.model.hidden) == (0, None)  # type: ignore[attr-defined]
    assert w.model.total is buffer  # type: ignore[attr-defined]


def test_dropout_off_reaches_every_rate() -> None:
    """Rates of dropout layers, attention, recurrent layers and stochastic depth are off, and come back; not in eval."""
    model = nn.ModuleList([nn.Dropout(0.1), nn.MultiheadAttention(4, 2, dropout=0.2), nn.LSTM(4, 4, 2, dropout=0.3)])
    with state.dropout_off(model) as names:
        assert sorted(names) == ["0.p", "1.dropout", "2.dropout"]
        assert (model[0].p, model[1].dropout, model[2].dropout) == (0.0, 0.0, 0.0)
    assert (model[0].p, model[1].dropout, model[2].dropout) == (0.1, 0.2, 0.3)
    with state.dropout_off(model.eval()) as names:
        assert names == []


class Kinked(nn.Module):
    """Units near the kink of a ReLU: a rounding error turns some of them on or off, and their gradients jump."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4096, 2))
        with torch.no_grad():
            self.weight[:, 1] = torch.linspace(-1e-3, 1e-3, 4096) - 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.weight.T).relu() + 1


def test_jumps_that_rounding_explains() -> None:
    """Gradients may jump as those of eager do when its parameters are a rounding error off."""
    w = workload(Kinked(), Mode.training, args=(torch.ones(8, 2),))

    def rounding(x: torch.Tensor) -> torch.Tensor:
        signs = torch.randint(0, 2, (4096, 2), generator=torch.Generator().manual_seed(7)) * 2 - 1
        return (x @ (w.model.weight * (1 + 4 * torch.finfo(torch.float32).eps * signs)).T).relu() + 1

    assert check(w, rounding).accuracy == "pass_within_eager_noise"


def test_jumps_that_no_rounding_explains() -> None:
    """The same gradients with an output that is eager's to the last bit are wrong."""
    w = workload(Kinked(), Mode.training, args=(torch.ones(8, 2),))

    def wrong(x: torch.Tensor) -> torch.Tensor:
        more = (x @ w.model.weight.T)[:, 2000:2100]
        return w.model(x) + nn.functional.pad(more - more.detach(), (2000, 1996))

    assert check(w, wrong).accuracy == "fail_accuracy"


class Ids(nn.Module):
    """What a matrix product gives, and the ids of its largest entries; two of them tie for a unit vector."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(8, 32, generator=torch.Generator().manual_seed(1))
        weight[0, 3] = weight[0, 4] = 5.0
        self.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        product = x @ self.weight
        return product, product.argmax(1) + 20_000


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mode", list(Mode))
def test_wrong_ids(mode: Mode, dtype: str) -> None:
    """Ids that are off by one are wrong, in every precision and mode, though floats would be well within tolerance."""
    w = workload(Ids(), mode, loss=lambda output: output[0].square().mean()).cast(Precision(dtype, dtype))
    assert check(w, w.model).accuracy == "pass"
    wrong = check(w, lambda x: (w.model(x)[0], w.model(x)[1] + 1))
    assert wrong.accuracy == "fail_accuracy"
    assert "8 of 8 elements differ" in wrong.reason


@pytest.mark.parametrize("mode", list(Mode))
def test_ids_that_rounding_moves(mode: Mode) -> None:
    """Ids may be those that eager gives when its parameters are a rounding error off, in inference too."""
    x = torch.randn(8, 8, generator=torch.Generator().manual_seed(2))
    x[0] = torch.eye(8)[0]
    w = workload(Ids(), mode, args=(x,), loss=lambda output: output[0].square().mean())

    def rounding(x: torch.Tensor) -> Any:
        product = x @ w.model.weight
        return product, 20_031 - product.flip(1).argmax(1)

    assert check(w, w.model).accuracy == "pass"
    assert check(w, rounding).accuracy == "pass_within_eager_noise"
    assert check(w, lambda x: (rounding(x)[0], rounding(x)[1] + 1)).accuracy == "fail_accuracy"


class Pixels(nn.Module):
    """Rounds to whole numbers what its dtype has rounded already; others in number if `growing`, as boxes are."""

    def __init__(self, growing: bool = False) -> None:
        super().__init__()
        self.growing = growing

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = (x.sigmoid() * 255).round().to(torch.uint8)
        return x, torch.cat([pixels, pixels]) if self.growing and x.dtype is torch.float64 else pixels


@pytest.mark.parametrize("growing", [False, True])
def test_whole_numbers_of_a_reference(growing: bool) -> None:
    """One that gives others is a reference still, and tells how far a backend's may be from eager's."""
    w = workload(Pixels(growing), args=(torch.randn(64, 64),)).cast(Precision("bf16", "bfloat16"))
    same, finer = (check(w, f) for f in (w.model, lambda x: (x, w.model(x.float())[1])))
    assert (same.accuracy, same.reference) == ("pass", "fp64")
    assert finer.accuracy == ("fail_accuracy" if growing else "pass_within_eager_noise")
    assert check(w, lambda x: (x, w.model(x)[1] + 9)).accuracy == "fail_accuracy"


class Unsteady(nn.Module):
    """One of its ids is another one in each call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = itertools.count()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.arange(20_000, 20_000 + len(x))
        ids[0] += 500 * (next(self.calls) % 2)
        return x, ids


def test_ids_that_differ_in_eager() -> None:
    """What eager does to one id is allowed to one id, not to all of them."""
    w = workload(Unsteady())
    settings = CheckSettings(reference=False, iterations=1)
    one, all_of_them = (torch.arange(20_000, 20_008) + torch.tensor(shift) for shift in ([500] + [0] * 7, [1] * 8))
    with Check(w, settings) as opened:
        assert opened.baseline() is None
        assert opened.judge(lambda x: (x, one)).accuracy == "pass_within_eager_noise"
        assert opened.judge(lambda x: (x, all_of_them)).accuracy == "eager_two_runs_differ"
