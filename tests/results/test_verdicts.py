"""The words of column `accuracy`."""

from __future__ import annotations

import pytest

from runner.results import verdicts
from runner.results.columns import Phase, Status


def test_every_word_has_its_status() -> None:
    """Words map to statuses as documented, numbered ones too; an unknown word is refused."""
    assert verdicts.status_of("pass_due_to_skip") is Status.SKIPPED
    assert verdicts.status_of("fail_to_run_at_batch_4", Phase.COMPILE) is Status.COMPILE_ERROR
    assert verdicts.status_of("fail_batch_invariance_at_2") is Status.WRONG_OUTPUT
    assert verdicts.status_of("eager_2nd_run_OOM") is Status.OOM
    with pytest.raises(ValueError, match="'passed' is no word of column accuracy: use one of"):
        verdicts.status_of("passed")
    for status in Status:
        word = verdicts.word_of(status)
        failed = Phase.COMPILE if status is Status.COMPILE_ERROR else None
        assert not word or status is Status.UNSUPPORTED or verdicts.status_of(word, failed) is status
