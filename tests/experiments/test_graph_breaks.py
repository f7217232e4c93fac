"""Graph breaks and recompilations: reasons, places and counts on models that are known to have them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))
import captures

from experiments.graph_breaks import GraphBreaks
from runner.compiling.break_reasons import breaks, rows
from runner.compiling.compilations import plain
from runner.compiling.trace_log import Record
from runner.results.reader import read_rows, read_run

FILE = captures.__file__


def line_of(text: str) -> int:
    """Number of the first line of the models' file that contains this."""
    return next(i for i, line in enumerate(Path(FILE).read_text().splitlines(), 1) if text in line)


def test_a_break_has_its_reason_and_its_place(tmp_path: Path) -> None:
    """The user's line, not torch's, and the reason in one line."""
    done = captures.perform(GraphBreaks(), captures.workload_of(captures.DataDependent), tmp_path)
    (found,) = done.context.tables["breaks"]
    assert (found["kind"], found["reason"], found["count"]) == ("break", "Data-dependent branching", 1)
    assert (found["file"], found["line"]) == (FILE, line_of("if x.sum() > -1e9"))
    assert "Explanation:" in found["explanation"]
    assert done.of("graphs", "breaks", "fallbacks", "places", "recompilations") == (2, 1, 0, 1, 0)


def test_a_break_is_listed_once(tmp_path: Path) -> None:
    """One line of code that two modules share is one place, met as often as dynamo compiles it."""
    done = captures.perform(GraphBreaks(), captures.workload_of(captures.Nested), tmp_path)
    (found,) = done.context.tables["breaks"]
    assert (found["count"], found["line"]) == (3, line_of("return x * 2") - 1)
    assert json.loads(done.row["reasons"]) == {"Call to `torch._dynamo.graph_break()`": 1}


def test_a_frame_that_is_given_up_is_no_break(tmp_path: Path) -> None:
    """A break inside a loop leaves the frame to eager."""
    done = captures.perform(GraphBreaks(), captures.workload_of(captures.Loop), tmp_path)
    assert [row["kind"] for row in done.context.tables["breaks"]] == ["fallback"]
    assert done.of("graphs", "breaks", "fallbacks", "places") == (0, 0, 1, 1)


def test_a_recompilation_says_which_guard_failed(tmp_path: Path) -> None:
    """Of which frame, with the guard in words and without dynamo's numbers."""
    done = captures.perform(GraphBreaks(calls=3), captures.workload_of(captures.Remembering), tmp_path)
    found = done.context.tables["recompilations"]
    assert done.row["recompilations"] == len(found) == 2
    assert [row["compile_id"].partition("/")[2] for row in found] == ["1", "2"]
    assert found[0]["reason"].startswith("self.calls == 1 ")
    assert found[0]["frame"].startswith(f"forward ({FILE}:")
    assert not any(row["limit_hit"] for row in found)


def test_the_table_at_the_end_counts_places_and_models() -> None:
    """The most frequent reasons first; rows without breaks, and failed ones, count nothing."""
    found = [{"reasons": json.dumps({"a": 3, "b": 1})}, {"reasons": json.dumps({"b": 1})}, {"reasons": "{}"}, {}]
    assert list(GraphBreaks.conclude(found, 0)) == [
        "places  models  reason",
        "     3       1  a",
        "     2       2  b",
    ]
    many = [{"reasons": json.dumps({str(i): 1 for i in range(12)})}]
    assert list(GraphBreaks.conclude(many, 0))[-1] == "and 2 more reasons: see breaks.csv"
    assert not list(GraphBreaks.conclude([{}], 0))


def test_what_dynamo_says_is_read() -> None:
    """Its prefixes are no part of the reason, torch's frames no part of the user's stack; other records are left out."""
    text = (
        "Graph break in user code at /net.py:7\nGraph Break Reason: Encountered graph break when attempting to trace "
        "CALL: a function call, e.g. f(x, y):\n\nA reason\n  Explanation: b\n\nUser code traceback:\n"
        '  File "/net.py", line 3, in outer\n    x\n  File "/lib/torch/nn/m.py", line 5, in f\n    y\n'
        '  File "/net.py", line 7, in inner\n    z\n\nTraceback (most recent call last):\n  File "/a.py", line 1, in g\n'
    )
    records = [Record("dynamo_graph_break_reason", text, 0, 0)] * 2 + [Record("other", "Graph break", 0, 0)]
    assert rows(breaks(records)) == [
        {
            "kind": "break",
            "count": 2,
            "reason": "A reason",
            "file": "/net.py",
            "line": 7,
            "explanation": "Explanation: b",
            "user_stack": "/net.py:3 in outer > /net.py:7 in inner",
        }
    ]


def test_guards_are_plain_words() -> None:
    """Each failed guard in a line, without numbers, runs of blanks and stacks."""
    text = "- 0/1: tensor 'x' size mismatch\n- 0/0: s.n == 1     # at f\nUser stack trace:\n  File x"
    assert plain(text) == "tensor 'x' size mismatch\ns.n == 1 # at f"
    assert plain("") == ""


def test_the_command(cli: Any, tmp_path: Path) -> None:
    """Row, tables, the table of reasons at the end, and dynamo's line in the log."""
    words = ("suite=module", f"suite.path={FILE}", "suite.class_name=BreakInTheMiddle", "experiment.explain=true")
    done = cli("experiment=graph_breaks", *words, "mode=training", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    (row,) = read_run(tmp_path / "out").rows
    assert (row["graphs"], row["breaks"], row["places"]) == (2, 1, 1)
    assert [line["reason"] for line in read_rows(tmp_path / "out" / "breaks.csv")] == [
        "Call to `torch._dynamo.graph_break()`"
    ]
    assert "     1       1  Call to `torch._dynamo.graph_break()`" in done.stdout
    assert "Dynamo produced 2 graphs covering 3 ops with 1 graph breaks" in (tmp_path / "out" / row["log"]).read_text()


@pytest.mark.parametrize("word", ["experiment.calls=0", "experiment.calls=some"])
def test_wrong_values_are_refused(cli: Any, word: str) -> None:
    """One sentence, exit 2."""
    done = cli("experiment=graph_breaks", word)
    assert done.returncode == 2
    assert "calls" in done.stderr
