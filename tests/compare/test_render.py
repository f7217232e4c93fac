"""What people and programs get to read of a comparison."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from runner.compare import render
from runner.compare.join import join
from runner.compare.judge import Comparison, Settings, judge, speedup_of
from runner.compare.likeness import Differences, differences


def compared(base: Any, new: Any) -> tuple[Comparison, Differences]:
    """Comparison and differences of two sides."""
    pairs = join(base, new)
    return judge(pairs, Settings(), speedup_of), differences(pairs)


def test_terminal_has_the_mde_with_every_quiet_row(maker: Any) -> None:
    """A row that is not flagged says how small a change could have been seen; regressions come first."""
    stream = io.StringIO()
    render.to_terminal(*compared(maker.side({"a": {}, "z": {}}), maker.side({"a": {}, "z": {"speedup": 1.2}})), stream)
    text = stream.getvalue()
    lines = [line.split() for line in text.splitlines() if line.startswith(("a ", "z "))]
    assert [line[0] for line in lines] == ["z", "a"]
    assert "regressed" in lines[0]
    assert lines[1][-2:] == ["5.8", "%"]
    assert "geometric mean of 2: 1.500x -> 1.342x, change -10.6 %" in text


def test_markdown_is_safe_for_a_comment(maker: Any) -> None:
    """Text from results neither notifies people nor breaks the table, and markup in it stays text."""
    evil = "<script>|`@octocat #1"
    failed = {"status": "run_error", "error": "a | b <img> @team _x_"}
    comparison, unlike = compared(maker.side({evil: {}, "good": {}}), maker.side({evil: failed, "good": {}}))
    text = render.to_markdown(comparison, unlike, "base|dir", "new`dir")
    row = next(line for line in text.splitlines() if "octocat" in line)
    assert row.count("|") - row.count("\\|") == 8
    assert "`<script>\\|'@octocat #1`" in row
    assert "<img>" not in text
    assert "@team" not in text
    assert text.startswith("### speedup: 1 status changed, 1 inconclusive\n")
    assert "<details><summary>1 other cells</summary>" in text


def test_markdown_is_never_too_long(maker: Any) -> None:
    """A comparison of many models fits a comment, and says how many of them are not shown."""
    names = {f"model_with_a_long_name_{i:04d}": {} for i in range(900)}
    comparison, unlike = compared(maker.side(names), maker.side(names))
    text = render.to_markdown(comparison, unlike, "a", "b")
    assert len(text) < 65_536
    assert "more: the comment would be too long" in text


def test_csv_and_json_carry_the_numbers(maker: Any, failed: dict[str, Any]) -> None:
    """Both hold every cell, with numbers that read back, and JSON without NaN."""
    base = maker.side({"a": {}, "b": {}, "c": {}})
    comparison, unlike = compared(base, maker.side({"a": {"speedup": 1.2}, "b": failed, "c": {}}))
    table = list(csv.DictReader(io.StringIO(render.to_csv(comparison))))
    assert [(row["name"], row["verdict"]) for row in table] == [
        *(("a", "regressed"), ("b", "status changed"), ("c", "inconclusive")),
    ]
    assert float(table[0]["change"]) == pytest.approx(-0.2)
    facts = json.loads(render.to_json(comparison, unlike), parse_constant=lambda word: 1 / 0)
    assert facts["exit_code"] == 3
    assert facts["counts"]["regressed"] == 1
    assert facts["geometric_mean"]["left_out"] == {"failed": 1}
    assert [cell["change"] is None for cell in facts["cells"]] == [False, True, False]


def test_rows_of_one_model_say_their_batch_size(maker: Any) -> None:
    """What differs between rows of one name stands in the table; what differs between models only does not."""
    sides = [
        maker.together(*(maker.side({"a": {}}, config={"batch_size": n}) for n in (1, 8)), maker.side({"b": {}}))
        for _ in range(2)
    ]
    comparison, _ = compared(*sides)
    assert render.label_keys(comparison.findings) == ["batch_size"]
    assert [render.labels(finding, ["batch_size"]) for finding in comparison.findings][:2] == [["a", "1"], ["a", "8"]]
    assert render.label_keys(comparison.findings[1:]) == []
