"""What a job's messages come to."""

from __future__ import annotations

import pytest

from runner.results.columns import Phase, Status
from runner.worker.limits import Deadlines, Limits
from runner.worker.recorder import Listener, Recorder

VERDICT = {"status": "wrong_output", "phase": "check", "error": "differs", "accuracy": "fail_accuracy"}


def recorder(**values: str) -> Recorder:
    """One whose job has yielded `values`."""
    made = Recorder(Listener(), Deadlines(Limits(), 1.0, 0.0))
    made.take({"kind": "values", "values": values})
    return made


def test_a_verdict_outlives_what_fails_later() -> None:
    """Accuracy decides the status; the later error is in the same sentence."""
    job = recorder(**VERDICT)
    job.take({"kind": "failed", "status": "run_error", "type": "RuntimeError", "message": "boom", "phase": "memory"})
    found = job.outcome()
    assert (found.status, found.phase) == (Status.WRONG_OUTPUT, Phase.CHECK)
    assert found.error == "differs; later, in memory, RuntimeError: boom"


@pytest.mark.parametrize("values", [{"status": "ok"}, {}])
def test_without_a_verdict_the_failure_counts(values: dict[str, str]) -> None:
    """A pass is none that could stand beside a crash."""
    assert recorder(**values).died(-11, out_of_memory=False).status is Status.CRASHED


def test_an_interrupted_job_is_to_run_again() -> None:
    """Whatever was found until then."""
    assert recorder(**VERDICT).ended(Status.INTERRUPTED, "SIGINT", "ended").status is Status.INTERRUPTED
