"""What a check of a backend found, and the columns that it fills."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runner.results import verdicts
from runner.results.columns import Phase, Row, Status
from runner.results.tensors import Comparison, TensorResult

if TYPE_CHECKING:
    from runner.collect import Result


@dataclass(frozen=True)
class Verdict:
    """What a check found: upstream's word, the magnitudes, and words for column `flags`."""

    accuracy: str
    reason: str = ""
    reference: str = "none"
    tolerance: float | None = None
    comparison: Comparison = field(default_factory=Comparison)
    flags: tuple[str, ...] = ()
    phase: Phase = Phase.CHECK
    error_type: str = ""
    worst: TensorResult | None = None  # of the comparison, with all its magnitudes
    result: Result | None = field(default=None, repr=False, compare=False)  # what the candidate gave

    @property
    def status(self) -> Status:
        """The status that the word stands for."""
        return verdicts.status_of(self.accuracy, self.phase)

    @property
    def ok(self) -> bool:
        """Whether the backend is right."""
        return self.status is Status.OK

    def without_result(self) -> Verdict:
        """The same without the candidate's tensors: copies that would count as peak memory of what comes next."""
        return replace(self, result=None)

    def row(self) -> Row:
        """Columns of the check and, unless all is well, of the outcome. Flags are for the caller to merge."""
        comparison = self.comparison
        row: Row = {
            "accuracy": self.accuracy,
            "reference": self.reference,
            "max_abs_err": comparison.max_abs_err,
            "max_rel_err": comparison.max_rel_err,
            "worst_tensor": comparison.worst_tensor,
        }
        if self.ok:
            return row
        outcome = {"status": self.status.value, "phase": self.phase.value}
        return row | outcome | {"error_type": self.error_type, "error": self.reason}
