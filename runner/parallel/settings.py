"""What the ways to spread a model have in common."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Ranks:
    """`nproc` processes, each on a device of its own; None takes every visible device, two processes on CPUs."""

    nproc: int | None = None

    def __post_init__(self) -> None:
        if self.nproc is not None and self.nproc < 1:
            raise ValueError(f"parallel.nproc={self.nproc}: give a number above 0")
