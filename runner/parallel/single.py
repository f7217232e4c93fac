"""One process, one device."""

from __future__ import annotations

from dataclasses import dataclass

from runner.parallel.settings import Ranks


@dataclass
class Single(Ranks):
    """The usual cell. It has the key so that `--multirun parallel=ddp,fsdp parallel.nproc=2` composes."""

    def __post_init__(self) -> None:
        if self.nproc not in {None, 1}:
            raise ValueError(f"parallel.nproc={self.nproc}: a single process is one; choose parallel=ddp, fsdp, ...")
