"""Seeding before every block."""

from __future__ import annotations

import torch

from runner.timing import seeding


def test_every_block_draws_the_same_numbers() -> None:
    """What torch.manual_seed would give on the CPU, each time."""
    torch.manual_seed(5)
    wanted = torch.rand(3)
    seed = seeding("cpu", 5)
    for _ in range(2):
        seed()
        assert torch.equal(torch.rand(3), wanted)
