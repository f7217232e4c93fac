"""How far each rank is: counters in memory that the ranks share with the agent."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from typing import Any

_FORMAT = struct.Struct("q")
#: Marks that one step makes: before and after the forward, and at the end.
_PER_STEP = 3


@dataclass(frozen=True)
class Marks:
    """One counter for each rank."""

    memory: mmap.mmap
    ranks: int

    @classmethod
    def make(cls, ranks: int) -> Marks:
        """All at 0; processes that are forked from now on share them."""
        return cls(mmap.mmap(-1, ranks * _FORMAT.size), ranks)

    def of(self, rank: int) -> Counter:
        """The counter of one rank."""
        return Counter(self.memory, rank * _FORMAT.size)

    def where(self) -> str:
        """Which ranks are behind, in words."""
        counts = [int(_FORMAT.unpack_from(self.memory, rank * _FORMAT.size)[0]) for rank in range(self.ranks)]
        behind = [str(rank) for rank, count in enumerate(counts) if count < max(counts)]
        if not behind:
            return f"all ranks are at the same place in {_place(max(counts))}"
        slow, fast = _place(min(counts)), _place(max(counts))
        return f"rank {', '.join(behind)} is behind, in {slow}; others are in {fast}"


class Counter:
    """What a rank counts its marks with."""

    def __init__(self, memory: mmap.mmap, offset: int) -> None:
        self._memory, self._offset, self._count = memory, offset, 0

    def step(self) -> None:
        """A step begins or ends."""
        self._count += 1
        _FORMAT.pack_into(self._memory, self._offset, self._count)

    def passed(self, output: Any) -> Any:
        """The forward is done."""
        self.step()
        return output


def _place(count: int) -> str:
    step, part = divmod(count, _PER_STEP)
    return f"the {'forward' if part == 1 else 'rest'} of step {step + 1}" if part else f"what follows step {step}"
