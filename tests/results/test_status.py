"""Exit codes, and what is run again."""

from __future__ import annotations

import pytest

from runner.results.columns import HARMLESS, Status
from runner.results.status import cells_to_run, exit_code


def rows(*statuses: str) -> list[dict[str, object]]:
    """A row for each status, the cells called 0, 1, ..."""
    return [{"cell_id": str(i), "status": status} for i, status in enumerate(statuses)]


@pytest.mark.parametrize("status", list(Status))
def test_one_status(status: Status) -> None:
    """Only ok, skipped and unsupported are harmless, the last not when strict."""
    assert exit_code(rows("ok", status.value)) == int(status not in HARMLESS)
    strict = exit_code(rows("ok", status.value), strict=True)
    assert strict == int(status not in (Status.OK, Status.SKIPPED))


def test_missing_and_unknown() -> None:
    """A lost cell is a failure, and so is a status of some other version; no row at all, when none is due, isn't."""
    assert exit_code(rows("ok"), missing=1) == 1
    assert exit_code(rows("fine")) == 1
    assert exit_code([]) == 0


@pytest.mark.parametrize(("signal", "code"), [(2, 130), (15, 143)])
def test_interrupted(signal: int, code: int) -> None:
    """A signal wins over the rows."""
    assert exit_code(rows("crashed"), missing=3, interrupted=signal) == code


@pytest.mark.parametrize(
    ("resume", "strict", "expected"),
    [
        ("missing", False, "125"),
        ("missing", True, "125"),
        ("failed", False, "1235"),
        ("failed", True, "12345"),
        ("all", False, "012345"),
    ],
)
def test_what_resume_runs(resume: str, strict: bool, expected: str) -> None:
    """Cells without a row and unfinished ones always; failed ones, or all, when asked for; in catalogue order."""
    known = rows("ok", "interrupted", "internal_error", "wrong_output", "unsupported")
    assert "".join(cells_to_run("012345", reversed(known), resume, strict)) == expected
