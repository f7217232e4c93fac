"""What the word in column `accuracy` means for column `status`, and the word for a cell that never reached its check.

The words are upstream's, so that existing dashboards read them, plus `pass_within_eager_noise` and
`reference_unusable`.
"""

from __future__ import annotations

import re

from runner.results.columns import Phase, Status

PASS = "pass"
PASS_WITHIN_EAGER_NOISE = "pass_within_eager_noise"
FAIL_ACCURACY = "fail_accuracy"
EAGER_TWO_RUNS_DIFFER = "eager_two_runs_differ"
REFERENCE_UNUSABLE = "reference_unusable"
FAIL_TO_RUN = "fail_to_run"

_STATUS = {
    PASS: Status.OK,
    PASS_WITHIN_EAGER_NOISE: Status.OK,
    "pass_due_to_skip": Status.SKIPPED,
    "eager_1st_run_fail": Status.EAGER_ERROR,
    "eager_2nd_run_fail": Status.EAGER_ERROR,
    "eager_fail_to_run": Status.EAGER_ERROR,
    "eager_1st_run_OOM": Status.OOM,
    "eager_2nd_run_OOM": Status.OOM,
    "OOM": Status.OOM,
    EAGER_TWO_RUNS_DIFFER: Status.CHECK_ERROR,
    REFERENCE_UNUSABLE: Status.CHECK_ERROR,
    FAIL_ACCURACY: Status.WRONG_OUTPUT,
    "not_bitwise_equivalent": Status.WRONG_OUTPUT,
    "model_fail_to_load": Status.LOAD_ERROR,
    "timeout": Status.TIMEOUT,
}
_NUMBERED = {"fail_to_run_at_batch": FAIL_TO_RUN, "fail_batch_invariance_at": FAIL_ACCURACY}
_WORD = {
    Status.SKIPPED: "pass_due_to_skip",
    Status.LOAD_ERROR: "model_fail_to_load",
    Status.UNSUPPORTED: "model_fail_to_load",
    Status.EAGER_ERROR: "eager_fail_to_run",
    Status.COMPILE_ERROR: FAIL_TO_RUN,
    Status.RUN_ERROR: FAIL_TO_RUN,
    Status.OOM: "OOM",
    Status.TIMEOUT: "timeout",
}


def status_of(accuracy: str, phase: Phase | None = None) -> Status:
    """Status that goes with a word of column `accuracy`; `phase` is where a `fail_to_run` happened.

    Raises ValueError for a word that isn't known. `model_fail_to_load` is `load_error` here; where something is
    missing, the caller knows that the status is `unsupported`.
    """
    numbered = re.fullmatch(r"(\w+)_\d+", accuracy)
    word = _NUMBERED.get(numbered[1], accuracy) if numbered else accuracy
    if word == FAIL_TO_RUN:
        return Status.COMPILE_ERROR if phase is Phase.COMPILE else Status.RUN_ERROR
    if word not in _STATUS:
        known = ", ".join(sorted([*_STATUS, FAIL_TO_RUN, *(f"{name}_N" for name in _NUMBERED)]))
        raise ValueError(f"{accuracy!r} is no word of column accuracy: use one of {known}")
    return _STATUS[word]


def word_of(status: Status) -> str:
    """Word for a cell that ended with `status` before its check gave one; empty where upstream has no word."""
    return _WORD.get(status, "")
