"""Ten derivatives by two interfaces: numerically right, equal to each other, and refused with a sentence."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from runner import derivatives
from runner.derivative_check import agreement
from runner.derivatives import FUNC, FUNCTIONAL, Problem
from runner.errors import Unsupported
from runner.loaders.demo import Demo
from runner.loaders.functional_autograd import EVERYTHING, FunctionalAutograd, Size
from runner.loaders.torchbench import Torchbench
from runner.workload import LoadRequest, Precision, Workload, tensors_of

APIS = {"functional": FUNCTIONAL, "func": FUNC}
FD = 1e-6
NAMES = ("resnet18", "ppl_simple_reg", "ppl_robust_reg", "wav2letter", "deepspeech", "transformer", "multiheadattn")
HEAVY = ("fcn_resnet", "detr")
ALL = (*NAMES, *(pytest.param(name, marks=pytest.mark.slow) for name in HEAVY))
#: CTC has a first derivative only.
TWICE = [name for name in ALL if name != "deepspeech"]
#: Models whose full size takes half a minute of one core, or more.
LONG = ("deepspeech", "detr", "fcn_resnet", "transformer")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small operators are slower on several threads, and much slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def precise(name: str) -> Workload:
    """A small model in fp64 without dropout."""
    workload = FunctionalAutograd(Size.small).load(name, LoadRequest()).cast(Precision("fp64", "float64"))
    workload.model.eval()  # type: ignore[attr-defined]
    return workload


def both_ways(problem: Problem, direction: Any, function: Any) -> Any:
    """Central difference of `function` of the parameters along `direction`; the step is short whatever its length."""
    step = FD / float(dot(direction, direction)) ** 0.5
    ahead, behind = (
        tuple(tensors_of(function(tuple(p + sign * step * d for p, d in zip(problem.parameters, direction, strict=True)))))
        for sign in (1, -1)
    )
    return tuple((a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True))


def slope(problem: Problem, direction: Any) -> torch.Tensor:
    """How fast the loss changes along `direction`."""
    loss = problem.loss(problem.inputs)
    with torch.no_grad():
        (found,) = both_ways(problem, direction, lambda parameters: loss(*parameters))
    return found  # type: ignore[no-any-return]


def gradient(problem: Problem, parameters: Any) -> tuple[torch.Tensor, ...]:
    """By plain backward."""
    leaves = [p.clone().requires_grad_() for p in parameters]
    return torch.autograd.grad(problem.loss(problem.inputs)(*leaves), leaves)


def dot(one: Any, other: Any) -> torch.Tensor:
    """Inner product over all tensors."""
    return sum(((a * b).sum() for a, b in zip(one, other, strict=True)), torch.zeros((), dtype=torch.float64))


def close(a: Any, b: Any) -> None:
    """Equal up to what finite differences leave."""
    scale = max(float(t.abs().max()) for t in tensors_of(b))
    for x, y in zip(tensors_of(a), tensors_of(b), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5 * max(scale, 1e-3))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("api", APIS)
def test_vjp(api: str, name: str) -> None:
    """The pulled-back scalar has the slope that finite differences find."""
    problem = derivatives.problem(precise(name), "vjp", seed=0)
    value, pulled = APIS[api]["vjp"].of(problem)
    direction = [torch.randn_like(p) for p in problem.parameters]
    assert value.shape == ()
    close(dot(pulled, direction), problem.vector[0] * slope(problem, direction))


@pytest.mark.parametrize("name", TWICE)
@pytest.mark.parametrize("api", APIS)
def test_jvp(api: str, name: str) -> None:
    """The pushed-forward vector gives the slope along it."""
    problem = derivatives.problem(precise(name), "jvp", seed=0)
    _, pushed = APIS[api]["jvp"].of(problem)
    close(pushed, slope(problem, problem.vector))


@pytest.mark.parametrize("name", TWICE)
@pytest.mark.parametrize(("api", "task"), [("functional", "vhp"), ("func", "vhp"), ("functional", "hvp"), ("func", "hvp")])
def test_hessian_products(api: str, task: str, name: str) -> None:
    """A Hessian's product from either side is the difference of gradients along the vector."""
    if (api, task, name) == ("func", "hvp", "fcn_resnet"):
        pytest.skip("torch has no forward derivative of what it needs")
    problem = derivatives.problem(precise(name), task, seed=0)
    _, product = APIS[api][task].of(problem)
    close(product, both_ways(problem, problem.vector, lambda parameters: gradient(problem, parameters)))


@pytest.mark.models
@pytest.mark.parametrize("name", [n if n not in LONG else pytest.param(n, marks=pytest.mark.slow) for n in (*NAMES, *HEAVY)])
def test_full_gradients(name: str) -> None:
    """In full size, too, every parameter has a gradient that is finite and not zero."""
    problem = derivatives.problem(FunctionalAutograd().load(name, LoadRequest()), "vjp", seed=0)
    norms = [float(found.norm()) for found in gradient(problem, problem.parameters)]
    assert all(0 < norm < float("inf") for norm in norms)


@pytest.mark.parametrize("name", ["ppl_simple_reg", "ppl_robust_reg"])
def test_gradcheck(name: str) -> None:
    """Every element of the first and second derivatives of the small models stands torch's own check."""
    problem = derivatives.problem(precise(name), "jacobian", seed=0)
    leaves = tuple(p.clone().requires_grad_() for p in problem.parameters)
    assert torch.autograd.gradcheck(problem.loss(problem.inputs), leaves)
    assert torch.autograd.gradgradcheck(problem.loss(problem.inputs), leaves)


@pytest.mark.parametrize("task", EVERYTHING)
@pytest.mark.parametrize("name", ["ppl_simple_reg", "ppl_robust_reg"])
def test_interfaces_agree(name: str, task: str) -> None:
    """All ten tasks give the same by both interfaces, in the same structure."""
    problem = derivatives.problem(precise(name), task, seed=0)
    ours, theirs = FUNCTIONAL[task].of(problem), FUNC[task].of(problem)
    assert agreement(task, ours, theirs, None).word == "pass"


@pytest.mark.parametrize("task", ["hessian", "hessian_fwdrev", "hessian_revrev"])
@pytest.mark.parametrize("api", APIS)
def test_hessians_are_made_of_products(api: str, task: str) -> None:
    """Each Hessian times a vector is the hvp."""
    problem = derivatives.problem(precise("ppl_robust_reg"), "hvp", seed=0)
    blocks = APIS[api][task].of(problem)
    _, product = FUNCTIONAL["hvp"].of(problem)
    for row, expected in zip(blocks, product, strict=True):
        parts = (torch.tensordot(b, v, dims=v.ndim) for b, v in zip(row, problem.vector, strict=True))
        torch.testing.assert_close(sum(parts), expected)


@pytest.mark.parametrize(("suite", "name"), [(Demo(), "mlp"), (Demo(), "convnet"), (Torchbench(), "lennard_jones")])
@pytest.mark.parametrize("task", ["vjp", "jvp", "vhp"])
def test_other_suites(suite: Any, name: str, task: str) -> None:
    """Models of other suites need nothing for it, and are left as they were."""
    workload = suite.load(name, LoadRequest(batch_size=2))
    before = [p.clone() for p in workload.parameters().values()]
    problem = derivatives.problem(workload, task, seed=0)
    assert agreement(task, FUNCTIONAL[task].of(problem), FUNC[task].of(problem), None).word == "pass"
    assert all(torch.equal(a, b) for a, b in zip(before, workload.parameters().values(), strict=True))
    assert all(p.grad is None for p in workload.parameters().values())


def test_vector_depends_on_model_and_task_only() -> None:
    """The same vector whatever ran before, another one for another task, model or seed."""
    name = "ppl_simple_reg"
    first = derivatives.problem(precise(name), "jvp", seed=0).vector
    torch.manual_seed(7)
    derivatives.problem(precise(name), "hvp", seed=0)
    assert torch.equal(first[0], derivatives.problem(precise(name), "jvp", seed=0).vector[0])
    others = [("hvp", 0), ("jvp", 1)]
    assert not any(torch.equal(first[0], derivatives.problem(precise(name), task, seed=s).vector[0]) for task, s in others)


def test_a_function_has_no_parameters() -> None:
    """A workload without parameters is refused in a sentence."""
    with pytest.raises(Unsupported, match="softmax has no parameters to differentiate by"):
        derivatives.problem(Workload("softmax", torch.softmax), "vjp", seed=0)


def test_frozen_parameters_are_constants() -> None:
    """What is not trained is not differentiated by."""
    workload = Demo().load("mlp", LoadRequest(batch_size=2))
    workload.model.layers.requires_grad_(False)  # type: ignore[attr-defined]
    assert len(derivatives.problem(workload, "vjp", seed=0).parameters) == 2


@pytest.mark.parametrize("task", ["hessian", "hessian_fwdrev", "hessian_revrev", "jacfwd"])
def test_memory_guard(task: str) -> None:
    """A matrix over all parameters that can't fit is refused with its bytes, before anything is allocated."""
    with pytest.raises(Unsupported, match=r"needs a matrix of 546578763192576 bytes \(547 TB\), and 24000000000 \(24 GB\)"):
        derivatives.check_memory(task, 11_689_512, 4, 24_000_000_000)
    derivatives.check_memory(task, 1000, 4, 24_000_000_000)
    derivatives.check_memory("hvp", 11_689_512, 4, 24_000_000_000)


@pytest.mark.parametrize(
    ("api", "task", "words"),
    [
        ("functional", "jvp", r"torch.autograd.functional.jvp can't differentiate deepspeech: derivative for aten::_ctc_loss_backward"),
        ("func", "jvp", r"torch.func.jvp can't differentiate deepspeech: .*forward AD.*_ctc_loss"),
        ("func", "vhp", r"torch.func.vjp of torch.func.grad_and_value can't differentiate deepspeech: derivative for"),
    ],
)
def test_unsupported_pairs_say_why(api: str, task: str, words: str) -> None:
    """What torch has no derivative of is named."""
    derivative, problem = APIS[api][task], derivatives.problem(precise("deepspeech"), task, seed=0)
    with pytest.raises((RuntimeError, NotImplementedError)) as caught:
        derivative.of(problem)
    assert re.match(words, str(derivatives.refused(caught.value, derivative, "deepspeech")))


def test_other_errors_are_not_excused() -> None:
    """A model's own error stays an error."""
    assert derivatives.refused(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), FUNC["vjp"], "x") is None
    assert derivatives.refused(ValueError("forward AD"), FUNC["vjp"], "x") is None


def test_a_mismatch_is_a_row() -> None:
    """A wrong element makes the row wrong_output with its tensor and size, where fp64 can't excuse it."""
    good, bad = (torch.zeros(3), torch.ones(2)), (torch.zeros(3), torch.tensor([1.0, 1.1]))
    row = agreement("vjp", good, bad, lambda: good).row()
    assert (row["status"], row["accuracy"], row["worst_tensor"]) == ("wrong_output", "fail_accuracy", "[1]")
    assert row["max_abs_err"] == pytest.approx(0.1)
    assert "differs by 0.1" in row["error"]


@pytest.mark.parametrize(("task", "word"), [("vjp", "fail_accuracy"), ("vhp", "pass")])
def test_tolerance(task: str, word: str) -> None:
    """A vhp has twice the absolute tolerance."""
    assert agreement(task, torch.zeros(2), torch.full((2,), 8e-3), None).word == word


def test_tolerance_of_the_policy() -> None:
    """One that is given takes the place of the task's own, absolute and relative, wider or narrower."""
    good, other = torch.full((2,), 100.0), torch.full((2,), 100.1)
    assert [agreement("vjp", good, other, None, given).word for given in (None, 1e-3)] == ["fail_accuracy", "pass"]
    row = agreement("vjp", torch.zeros(2), torch.full((2,), 1e-3), None, 1e-4).row()
    assert (row["accuracy"], "tolerance 0.0001 and 0.0001 of" in row["error"]) == ("fail_accuracy", True)


def test_rounding_is_no_mismatch() -> None:
    """A result that is as near to fp64 as the other one is within noise; one that is not finite never is."""
    exact = torch.full((2,), 1000.0, dtype=torch.float64)
    ours, theirs = (exact + d for d in (0.03, -0.03))
    assert agreement("vjp", ours.float(), theirs.float(), lambda: exact).word == "pass_within_eager_noise"
    assert agreement("vjp", exact.float(), theirs.float(), lambda: exact).word == "fail_accuracy"
    assert agreement("vjp", ours.float() / 0, ours.float() / 0, lambda: exact).word == "fail_accuracy"


def test_fp64_that_tells_nothing() -> None:
    """Two results nearer to each other than to an fp64 run far off can't be judged; farther apart, one is wrong."""
    exact = torch.full((2,), 20.0, dtype=torch.float64)
    ours = (exact + 1).float()
    row = agreement("vjp", ours, ours + 0.02, lambda: exact).row()
    assert (row["status"], row["accuracy"]) == ("check_error", "reference_unusable")
    assert agreement("vjp", ours, ours + 3, lambda: exact).word == "fail_accuracy"


def test_fp64_problem() -> None:
    """The precise problem computes in fp64 with the same numbers, buffers included."""
    workload = FunctionalAutograd(Size.small).load("ppl_robust_reg", LoadRequest())
    problem = derivatives.problem(workload, "vjp", seed=0)
    (single, _), (double, _) = FUNCTIONAL["vjp"].of(problem), FUNCTIONAL["vjp"].of(problem.double())
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    assert double.item() == pytest.approx(single.item(), rel=1e-5)
