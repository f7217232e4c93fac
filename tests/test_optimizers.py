"""The optimizers step, and pass on what is configured."""

from __future__ import annotations

import pytest
import torch

from runner import registry


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"_target_": "runner.optimizers.sgd.Sgd", "momentum": 0.9}, {"lr": 0.01, "momentum": 0.9}),
        ({"_target_": "runner.optimizers.adam.Adam", "beta1": 0.5}, {"lr": 0.01, "betas": (0.5, 0.999)}),
    ],
)
def test_optimizer(node: dict[str, object], expected: dict[str, object]) -> None:
    """The configured optimizer moves a parameter."""
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = registry.build(node).make([parameter])
    assert {key: optimizer.defaults[key] for key in expected} == expected
    parameter.sum().backward()
    optimizer.step()
    assert not torch.equal(parameter, torch.ones(2))
