"""Expected accuracy and graph breaks: equal or fail, in both directions, and no row is ever lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.compare.expected import check, update
from runner.errors import UsageError

FILE = """name,accuracy,graph_breaks,flaky
same,pass,0,
known,fail_to_run,0,
better,fail_accuracy,0,
worse,pass,0,
breaks,pass,1,
shaky,pass,0,true
gone,pass,0,
missing_package,pass,0,
"""
MODELS: dict[str, dict[str, Any]] = {
    "same": {},
    "known": {"status": "run_error", "accuracy": "fail_to_run"},
    "better": {},
    "worse": {"status": "wrong_output", "accuracy": "fail_accuracy", "graph_breaks": 0},
    "breaks": {"graph_breaks": 3},
    "shaky": {"status": "wrong_output", "accuracy": "fail_accuracy", "graph_breaks": 0},
    "missing_package": {"status": "unsupported", "accuracy": "model_fail_to_load"},
    "unknown": {},
}


def write(folder: Path, text: str = FILE) -> Path:
    """The file of expectations."""
    path = folder / "expected.csv"
    path.write_text(text)
    return path


def test_results_in_upstreams_words(maker: Any, tmp_path: Path) -> None:
    """Every kind of agreement and difference has its word, and its share in the exit code."""
    outcomes = check(maker.side(MODELS), write(tmp_path))
    accuracy = {o.name: (o.result, o.exit_code) for o in outcomes if o.column == "accuracy"}
    assert accuracy == {
        "same": ("PASS", 0),
        "known": ("XFAIL", 0),
        "better": ("IMPROVED", 3),
        "worse": ("FAIL", 3),
        "breaks": ("PASS", 0),
        "shaky": ("FAIL_BUT_FLAKY", 0),
        "gone": ("MISSING:accuracy", 1),
        "missing_package": ("MISSING:accuracy", 1),
        "unknown": ("MISSING:expected", 1),
    }
    breaks = {o.name: o.result for o in outcomes if o.column == "graph_breaks"}
    assert (breaks["breaks"], breaks["same"]) == ("FAIL", "PASS")


def test_fewer_graph_breaks_fail_too(maker: Any, tmp_path: Path) -> None:
    """An improvement must be written down as well."""
    path = write(tmp_path, "name,accuracy,graph_breaks\na,pass,4\n")
    found = check(maker.side({"a": {"graph_breaks": 1}}), path)
    assert [(o.column, o.result, o.exit_code) for o in found] == [
        ("accuracy", "PASS", 0),
        ("graph_breaks", "IMPROVED", 3),
    ]


def test_update_keeps_every_row(maker: Any, tmp_path: Path) -> None:
    """Rows of models that were not run, or said nothing, stay as they are; marks stay; new models are added."""
    path = write(tmp_path)
    assert update(maker.side(MODELS), path) == 5
    assert path.read_text().splitlines() == [
        "name,accuracy,graph_breaks,flaky",
        "same,pass,0,",
        "known,fail_to_run,0,",
        "better,pass,0,",
        "worse,fail_accuracy,0,",
        "breaks,pass,3,",
        "shaky,fail_accuracy,0,true",
        "gone,pass,0,",
        "missing_package,pass,0,",
        "unknown,pass,0,",
    ]
    assert update(maker.side(MODELS), path) == 0


def test_update_makes_the_file(maker: Any, tmp_path: Path) -> None:
    """The first update writes upstream's header."""
    path = tmp_path / "ci" / "new.csv"
    assert update(maker.side({"a": {}}), path) == 1
    assert path.read_text() == "name,accuracy,graph_breaks\na,pass,0\n"


@pytest.mark.parametrize("text", ["", "a,b\n", "name,accuracy,graph_breaks\na,pass\n"])
def test_bad_files(maker: Any, tmp_path: Path, text: str) -> None:
    """What is no file of expectations is refused and not overwritten."""
    path = write(tmp_path, text)
    for action in (check, update):
        with pytest.raises(UsageError, match="expected.csv"):
            action(maker.side({"a": {}}), path)
    assert path.read_text() == text


def test_one_row_a_model(maker: Any, tmp_path: Path) -> None:
    """Results of several configurations can't be held against one expectation."""
    other = maker.side({"same": {}}, config=maker.config(choices={"backend": "eager"}))
    with pytest.raises(UsageError, match="several rows of same"):
        check(maker.together(maker.side({"same": {}}), other), write(tmp_path))
