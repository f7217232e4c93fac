"""What a report is made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import UsageError
from runner.report.sources import MISSING, gather

PERFORMANCE = "dev,name,batch_size,speedup,abs_latency,compilation_latency,compression_ratio,graph_breaks\n"


def test_a_cell_without_a_row_is_a_row_that_says_so(results):
    """What was asked for and is not there yet is part of the report, under its suite, backend and mode."""
    [part] = gather([str(results({"a": {}, "b": None}))])
    assert [row["status"] for row in part.rows] == ["ok", MISSING]
    assert {key: part.rows[1][key] for key in ("name", "suite", "backend", "dev")} == {
        "name": "b",
        "suite": "timm",
        "backend": "inductor",
        "dev": "cuda",
    }


def test_a_folder_that_is_given_twice_counts_once(results, tmp_path: Path):
    """The same run by itself, through its CSV and through the folder above it is one part."""
    run = results({"a": {}})
    assert len(gather([str(run), str(run / "speedup.csv"), str(tmp_path)])) == 1


def test_jobs_of_a_sweep_and_its_gathered_file(results, tmp_path: Path):
    """A sweep's folder is read by its jobs; its CSV alone gives the same rows, with the same types."""
    for i, backend in enumerate(("inductor", "eager")):
        results({"a": {}, "b": {}}, f"sweep/{i}", "sweep", i, backend=backend)
    jobs = gather([str(tmp_path / "sweep")])
    [part] = gather([str(tmp_path / "sweep" / "speedup.csv")])
    assert part.record is None
    assert [row["speedup"] for job in jobs for row in job.rows] == [row["speedup"] for row in part.rows]
    assert [column.name for column in part.shown] == [column.name for column in jobs[0].shown]


def test_unknown_numeric_columns_of_a_lone_file_are_numbers(tmp_path: Path):
    """A CSV without its run.json keeps its own columns: numbers where all values are, else text."""
    path = tmp_path / "ops.csv"
    path.write_text("name,cell_id,status,experiment,ops_per_s,kind\na,1,ok,ops,2.5,x\nb,2,ok,ops,,7\n")
    [part] = gather([str(path)])
    assert part.experiment == "ops"
    assert [(row["ops_per_s"], row["kind"]) for row in part.rows] == [(2.5, "x"), (None, "7")]


def test_performance_file_of_dynamobench(tmp_path: Path):
    """Its zeros for a failed model are no measurements; compile time has our name; nothing else is guessed."""
    path = tmp_path / "inductor_perf.csv"
    path.write_text(PERFORMANCE + "cuda,good,8,1.5,3.0,20.1,0.9,2\ncuda,bad,0,0.0,0.0,0,0,0\n")
    [part] = gather([str(path)])
    good, bad = part.rows
    assert part.foreign
    assert (good["status"], good["speedup"], good["compile_s"], good["tag"]) == ("ok", 1.5, 20.1, "inductor_perf")
    assert (bad["status"], bad["batch_size"], bad.get("speedup"), bad.get("compile_s")) == (
        "run_error",
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("pass", "ok"),
        ("pass_due_to_skip", "skipped"),
        ("fail_accuracy", "wrong_output"),
        ("OOM", "oom"),
        ("?", "run_error"),
    ],
)
def test_accuracy_file_of_dynamobench(tmp_path: Path, word: str, status: str):
    """Upstream's words become statuses; a word that nobody knows is a failure."""
    path = tmp_path / "acc.csv"
    path.write_text(f"dev,name,batch_size,accuracy\ncuda,a,8,{word}\n")
    [part] = gather([str(path)])
    assert part.rows[0]["status"] == status


def test_windows_line_ends(tmp_path: Path):
    """A file that went through a spreadsheet reads the same."""
    path = tmp_path / "perf.csv"
    path.write_bytes((PERFORMANCE + "cuda,good,8,1.5,3.0,20.1,0.9,2\n").replace("\n", "\r\n").encode())
    [part] = gather([str(path)])
    assert part.rows[0]["speedup"] == 1.5


@pytest.mark.parametrize(
    ("content", "says"),
    [("", "is empty"), ("a,b\n1,2\n", "is no table of results"), ("\x00\xff\n", "is no table of results")],
)
def test_a_file_that_is_something_else(tmp_path: Path, content: str, says: str):
    """An empty or a foreign file is refused in one sentence that names it."""
    path = tmp_path / "x.csv"
    path.write_text(content)
    with pytest.raises(UsageError, match=f"x.csv {says}"):
        gather([str(path)])
