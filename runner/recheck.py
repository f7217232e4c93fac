"""A second opinion on the backend of a model that draws random numbers: compiled anew, to draw those that eager draws.

What is timed keeps the user's settings: inductor's `fallback_random` changes speed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runner.check import Check, CheckSettings
from runner.determinism import fallback_random
from runner.results import verdicts
from runner.results.columns import Phase, Status

if TYPE_CHECKING:
    from runner.experiment import Context
    from runner.verdict import Verdict
    from runner.workload import Workload

#: Flag of a row whose check was such a second one.
FLAG = "fallback_random_check"


def may_help(verdict: Verdict) -> bool:
    """Whether the backend may have been found wrong because of the random numbers that it drew."""
    differs = verdict.accuracy in (verdicts.FAIL_ACCURACY, verdicts.EAGER_TWO_RUNS_DIFFER)
    return differs and "draws_random_numbers" in verdict.flags


def recheck(workload: Workload, settings: CheckSettings, first: Verdict, context: Context) -> Verdict:
    """The verdict on `context.backend` compiled anew, or `first` as uncheckable where that can't be had.

    Throws away what torch.compile has compiled in this process: callables made before compile again when called.
    """
    with fallback_random(), Check(workload, settings) as opened:
        verdict = opened.baseline()
        if verdict is None:
            candidate, verdict = compiled_anew(opened, context)
            verdict = verdict or opened.judge(candidate).without_result()
    if verdict.status in (Status.OK, Status.WRONG_OUTPUT):
        return replace(verdict, flags=(*verdict.flags, FLAG))
    return replace(first, accuracy=verdicts.EAGER_TWO_RUNS_DIFFER, flags=(*first.flags, *verdict.flags))


def compiled_anew(opened: Check, context: Context) -> tuple[Callable[..., Any], Verdict | None]:
    """The callable of `context.backend` after its first call, and why that failed; in the phase compile."""
    import torch

    assert context.backend is not None
    with context.phase(Phase.COMPILE):
        torch._dynamo.reset()
        candidate = context.backend.prepare(opened.workload)
        return candidate, opened.first_call(candidate)
