"""torch's settings for repeatable numbers are in force inside, and back outside, whatever happens inside."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch._inductor import config as inductor

from runner import determinism
from runner.determinism import ENVIRONMENT, deterministic


def now() -> list[object]:
    """A sample of the settings."""
    flags = [torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic, inductor.fallback_random]
    return [*flags, torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.manual_seed]


def test_all_is_set_and_undone() -> None:
    """Inside all are in force and named; outside they are what they were, after an exception too."""
    before = now()
    with deterministic(3) as applied:
        assert now()[:5] == [True, True, True, False, False]
        assert len(applied.names) == len(determinism._settings(3, algorithms=True))
    assert now() == before
    with pytest.raises(ValueError, match="inside"), deterministic(3):
        raise ValueError("inside")
    assert now() == before
    assert applied.flags == []


def test_any_seed_is_the_same_inside() -> None:
    """A model that seeds for itself repeats itself."""
    with deterministic(3):
        torch.manual_seed(8)
        one = torch.rand(2)
        torch.manual_seed(9)
        assert torch.equal(one, torch.rand(2))
    torch.manual_seed(9)
    assert not torch.equal(one, torch.rand(2))


def test_a_model_that_changes_the_settings_is_flagged() -> None:
    """And they are put back all the same."""
    before = now()
    with deterministic(0) as applied:
        torch.backends.cudnn.benchmark = True
    assert (applied.flags, now()) == (["model_changed_settings"], before)


def test_an_operator_without_a_deterministic_way_is_flagged() -> None:
    """It runs, and the row says so."""
    with warnings.catch_warnings(record=True), deterministic(0) as applied:
        warnings.warn("cumsum_cuda_kernel does not have a deterministic implementation, but ...", stacklevel=1)
    assert applied.flags == ["nondeterministic_operator"]


def test_what_cannot_be_undone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that follows in this process could be trusted."""
    values = iter([1, 2, 2])
    stuck = determinism._Setting("stuck", 2, lambda: next(values), lambda _: None)
    monkeypatch.setattr(determinism, "_settings", lambda _, algorithms: (stuck,) if algorithms else ())
    with pytest.raises(RuntimeError, match="could not be put back: stuck"), deterministic(0):
        values = iter([2, 2])


def test_the_environment_is_recorded_where_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is set by whoever starts the process."""
    for key, value in ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    with deterministic(0) as applied:
        assert applied.words.endswith("cublas_workspace_config")
