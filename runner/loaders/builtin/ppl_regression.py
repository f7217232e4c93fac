"""ppl_simple_reg and ppl_robust_reg: log densities of two Bayesian regressions, as a probabilistic language has them.

Their parameters are a dozen numbers, few enough for whole Jacobians and Hessians.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.distributions import Bernoulli, Distribution, Exponential, Gamma, Normal, StudentT

from runner.loaders._building import Draw, Order, Parts

_FEATURES = 10


def _density(kind: Callable[..., Distribution], *parameters: object) -> Distribution:
    """A distribution that looks at no values: validation would branch on tensors, which torch.func can't."""
    return kind(*parameters, validate_args=False)


class LogisticRegression(nn.Module):
    """Log density of binary outcomes and weights, the weights being standard normal beforehand."""

    def __init__(self) -> None:
        """One weight per feature and a constant."""
        super().__init__()
        self.weights = nn.Parameter(torch.randn(_FEATURES + 1, 1))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """`x` [N, 11] and `y` [N, 1] to a scalar."""
        likelihood = _density(Bernoulli, None, x @ self.weights).log_prob(y).sum()
        prior = _density(Normal, 0.0, 1.0).log_prob(self.weights).sum()
        return likelihood + prior


class RobustRegression(nn.Module):
    """Log density of a regression whose errors have Student's distribution: the sum of three conditional scores."""

    def __init__(self, samples: int, draw: Draw) -> None:
        """Degrees of freedom [1, 1], log scales [samples, 1], weights [11, 1]; the priors' parameters are drawn."""
        super().__init__()
        self.freedom = nn.Parameter(1 + torch.rand(1, 1))
        self.log_scales = nn.Parameter(torch.randn(samples, 1))
        self.weights = nn.Parameter(torch.randn(_FEATURES + 1, 1))
        self.freedom_prior: torch.Tensor
        self.weight_prior: torch.Tensor
        self.register_buffer("freedom_prior", draw.uniform(0.1, 1, 2, 1, 1))  # shape and rate
        self.register_buffer("scale_prior", draw.uniform(0.1, 1, samples, 1))  # rates
        self.register_buffer("weight_prior", draw.uniform(0.1, 1, 2, _FEATURES + 1, 1))  # means and deviations

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """`x` [N, 11] and `y` [N, 1] to a scalar."""
        scales = self.log_scales.exp()
        freedom = self._likelihood(x, y) + _density(Gamma, *self.freedom_prior.unbind()).log_prob(self.freedom).sum()
        # the log scales are the free variable: their density has the logarithm of the derivative of exp
        log_density = _density(Exponential, self.scale_prior).log_prob(scales) + self.log_scales
        scale = self._likelihood(x, y) + log_density.sum()
        weight = self._likelihood(x, y) + _density(Normal, *self.weight_prior.unbind()).log_prob(self.weights).sum()
        return freedom + scale + weight

    def _likelihood(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        errors = _density(StudentT, self.freedom, x @ self.weights, self.log_scales.exp())
        return errors.log_prob(y).sum()


def log_density(output: torch.Tensor) -> torch.Tensor:
    """The models' output is the scalar to differentiate."""
    return output


def simple(order: Order) -> Parts:
    """`x` [N, 11] and `y` [N, 1] uniform, N being the batch size."""
    return Parts(LogisticRegression(), _samples(order), loss=log_density)


def robust(order: Order) -> Parts:
    """`x` [N, 11] and `y` [N, 1] uniform, N being the batch size and the number of scales."""
    return Parts(RobustRegression(order.batch_size, order.draw), _samples(order), loss=log_density)


def _samples(order: Order) -> tuple[torch.Tensor, torch.Tensor]:
    draw, count = order.draw, order.batch_size
    return draw.uniform(0, 1, count, _FEATURES + 1), draw.uniform(0, 1, count, 1)
