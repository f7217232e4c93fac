"""Random numbers in a check: does a candidate draw those that eager draws, and new ones in each call?

Dropout is off in a check and needs none; these are the others, and in `repeated_by` dropout's too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner import compare_outputs, state
from runner.collect import forward
from runner.compare_outputs import Rule
from runner.parallel import agreement

if TYPE_CHECKING:
    from runner.trees import Flat
    from runner.workload import Workload


@dataclass
class Draws:
    """What eager draws in a check that seeds with `seed`; `start` puts state and inputs back as they were."""

    workload: Workload
    seed: int
    tolerance: float
    dropouts: Sequence[state.Dropout]
    start: Callable[[], None]
    found: bool = False  # eager draws others than dropout's
    _after: tuple[Any, ...] = ()  # the generators after eager's run
    _eager_differs: bool | None = None

    def note_eager(self) -> None:
        """To be called right after a run of eager."""
        before = self._after = state.rng_state(self.workload.device)
        state.seed_all(self.seed)
        self.found = state.rng_state(self.workload.device) != self._after
        state.set_rng_state(self.workload.device, before)

    def others(self) -> bool:
        """Whether the run that ended right now drew other numbers than eager: it left the generators elsewhere."""
        return self.found and not agreement.everywhere(state.rng_state(self.workload.device) == self._after)

    def repeated_by(self, candidate: Callable[..., Any]) -> bool:
        """Whether two calls of the candidate draw the same random numbers where two of eager's don't."""
        if not self.dropouts and not self.found:
            return False
        if self._eager_differs is None:
            two = self._two_calls(self.workload.model)
            self._eager_differs = agreement.everywhere(not compare_outputs.compare(*two, None, Rule(self.tolerance)).ok)
        if not self._eager_differs:
            return False
        return agreement.everywhere(compare_outputs.compare(*self._two_calls(candidate), None, Rule(0.0)).ok)

    def _two_calls(self, f: Callable[..., Any]) -> tuple[Flat, Flat]:
        """Outputs of two forward passes from one state, with dropout; the second draws what comes after the first."""
        state.seed_all(self.seed)
        outputs = []
        for _ in range(2):
            self.start()
            with state.dropout_on(list(self.dropouts)):
                outputs.append(forward(self.workload, f))
        return outputs[0], outputs[1]
