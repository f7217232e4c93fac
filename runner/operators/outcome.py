"""How a sample ended: the kinds of failure, few enough to read, and the status that an operator's row gets of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from runner.results.columns import Phase, Row, Status


class Reason(str, Enum):
    """Why an input set was not measured; every failure has one of these ten."""

    UNREADABLE = "the line can't be read"
    NO_OPERATOR = "torch has no such operator"
    SPARSE = "sparse tensor"
    TOO_LARGE = "does not fit into memory"
    NO_KERNEL = "no kernel for device or dtype"
    INPUTS = "inputs can't be made"
    EAGER = "eager failed"
    COMPILE = "the backend failed"
    WRONG = "wrong output"
    MEASURE = "failed while measured"


_STATUS = {
    Reason.UNREADABLE: Status.LOAD_ERROR,
    Reason.NO_OPERATOR: Status.UNSUPPORTED,
    Reason.SPARSE: Status.UNSUPPORTED,
    Reason.TOO_LARGE: Status.UNSUPPORTED,
    Reason.NO_KERNEL: Status.UNSUPPORTED,
    Reason.INPUTS: Status.LOAD_ERROR,
    Reason.EAGER: Status.EAGER_ERROR,
    Reason.COMPILE: Status.COMPILE_ERROR,
    Reason.WRONG: Status.WRONG_OUTPUT,
    Reason.MEASURE: Status.RUN_ERROR,
}
_PHASE = {
    Status.LOAD_ERROR: Phase.LOAD,
    Status.EAGER_ERROR: Phase.EAGER,
    Status.COMPILE_ERROR: Phase.COMPILE,
    Status.WRONG_OUTPUT: Phase.CHECK,
    Status.RUN_ERROR: Phase.MEASURE,
}
#: The worst first: one of these makes the operator's status.
_ORDER = (Reason.WRONG, Reason.COMPILE, Reason.MEASURE, Reason.EAGER, Reason.INPUTS, Reason.UNREADABLE)
_NO_KERNEL = re.compile(
    r"not implemented for|Could not run '|not supported|expected scalar type|only support|is not available for|"
    r"No available kernel|unsupported (scalar ?type|dtype)|must be .*(dtype|tensor on|CUDA)|not compiled with|"
    r"doesn't support|does not support",
    re.IGNORECASE,
)


#: An operator's own check, which torch makes of tensors without data too before any backend sees the operator.
_REFUSED_DTYPE = re.compile(r"Expected inputs of [\w ]+ type but got")


@dataclass(eq=False)  # not frozen: Python writes to an exception while it is raised
class Failure(Exception):  # noqa: N818 - it is data first
    """Ends a sample. `text` is one line."""

    reason: Reason
    text: str = ""

    @property
    def status(self) -> Status:
        """The status that a sample has which ends so."""
        return _STATUS[self.reason]


def failure(error: Exception, reason: Reason) -> Failure:
    """The failure that an exception means: `reason`, or what its text tells."""
    import torch

    from runner.worker.failure import is_out_of_memory, one_line

    if isinstance(error, Failure):
        return error
    text = f"{type(error).__name__}: {one_line(str(error))}"
    if is_out_of_memory(error) or isinstance(error, torch.OutOfMemoryError):
        return Failure(Reason.TOO_LARGE, text)
    missing = isinstance(error, NotImplementedError) or _NO_KERNEL.search(str(error))
    if (missing and reason in {Reason.EAGER, Reason.INPUTS}) or _REFUSED_DTYPE.search(str(error)):
        return Failure(Reason.NO_KERNEL, text)
    return Failure(reason, text)


def verdict(failures: Iterable[Failure], measured: int) -> Row:
    """Status, phase and error of an operator's row."""
    found = list(failures)
    for reason in _ORDER:
        worst = next((f for f in found if f.reason is reason), None)
        if worst is not None:
            phase = _PHASE[worst.status]
            return {"status": worst.status.value, "phase": phase.value, "error": f"{reason.value}: {worst.text}"}
    if found and not measured:
        return {"status": Status.UNSUPPORTED.value, "error": f"{found[0].reason.value}: {found[0].text}"}
    return {"status": Status.OK.value}


def counted(failures: Iterable[Failure]) -> str:
    """`3 no kernel for device or dtype; 1 sparse tensor`."""
    found = Counter(f.reason.value for f in failures)
    return "; ".join(f"{count} {reason}" for reason, count in found.most_common())
