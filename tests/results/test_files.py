"""The files of a run and of a sweep, and how they are read."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.errors import UsageError
from runner.results.columns import Column
from runner.results.files import RunFiles, rebuild_sweep
from runner.results.reader import read_rows, read_run, read_table
from runner.results.text import RowError


def names(rows: list[dict[str, Any]]) -> str:
    """The rows' models in order."""
    return "".join(row["name"] for row in rows)


def make_job(sweep: Path, make: Any, job: int, letters: str, experiment: str = "speedup") -> RunFiles:
    """A job of a sweep with a row for each letter."""
    folder = sweep / f"job={job}"
    files = RunFiles(folder, make.record(letters, experiment, job).write(folder), sweep)
    for letter in letters:
        files.append(make.row(letter, speedup=1.5))
    return files


def test_catalogue_order_and_missing(tmp_path: Path, make: Any) -> None:
    """Rows are read in the order of the cells in run.json, and cells without a row are named."""
    files = RunFiles(tmp_path, make.record("abcd").write(tmp_path))
    for letter in "dba":
        files.append(make.row(letter, speedup=2.0, converged=True))
    results = read_run(tmp_path)
    assert names(results.rows) == "abd"
    assert results.missing == ["c"]
    assert results.rows[0]["speedup"] == 2.0
    assert results.rows[0]["converged"] is True
    assert results.rows[0]["batch_size"] is None


def test_pending_counts_until_there_is_a_final_row(tmp_path: Path, make: Any) -> None:
    """The latest pending row is the row of a cell without a final one."""
    files = RunFiles(tmp_path, make.record("ab").write(tmp_path))
    files.pend(make.row("a", speedup=1.0, converged=False))
    files.pend(make.row("a", speedup=1.1, converged=False))
    files.pend(make.row("b", speedup=1.0, converged=False))
    files.append(make.row("b", speedup=1.2, converged=True))
    assert [row["speedup"] for row in read_run(tmp_path).rows] == [1.1, 1.2]
    assert read_run(tmp_path).missing == []


def test_forgotten_cells_leave_no_duplicates(tmp_path: Path, make: Any) -> None:
    """Cells that run again lose their rows everywhere, those of others stay; their new rows are the only ones."""
    files = make_job(tmp_path, make, 0, "ab")
    other = make_job(tmp_path, make, 1, "a")
    cell = "a" * 12
    files.pend(make.row("a"))
    files.table(cell, "a", "graph_breaks", [{"reason": "x"}, {"reason": "y"}])
    files.table("b" * 12, "b", "graph_breaks", [{"reason": "z"}])
    files.samples(cell, {"tA": [1.0]})
    files.forget({cell})
    assert names(read_run(files.directory).rows) == "b"
    assert [row["reason"] for row in read_rows(files.directory / "graph_breaks.csv")] == ["z"]
    assert not files.samples_path(cell).exists()
    assert names(read_rows(tmp_path / "speedup.csv")) == names(read_rows(tmp_path / "sweep.csv")) == "ba"
    files.append(make.row("a", speedup=9.0))
    assert [row["speedup"] for row in read_run(files.directory).rows] == [9.0, 1.5]
    assert names(read_run(other.directory).rows) == "a"


def test_sweep_files(tmp_path: Path, make: Any) -> None:
    """A sweep's folder has full rows by experiment and the common columns of all, with logs as seen from there."""
    make_job(tmp_path, make, 0, "ab")
    make_job(tmp_path, make, 1, "c", experiment="onnx")
    assert names(read_rows(tmp_path / "speedup.csv")) == "ab"
    assert names(read_rows(tmp_path / "onnx.csv")) == "c"
    common = read_table(tmp_path / "sweep.csv")
    assert "speedup" not in common.names
    assert [row["log"] for row in common.rows][2] == f"job=1/logs/{'c' * 12}.log"


def test_jobs_with_other_columns(tmp_path: Path, make: Any) -> None:
    """They have a file of their own in the sweep's folder, and the rest goes on; so it is when rebuilt or run again."""
    make_job(tmp_path, make, 0, "a")
    folder = tmp_path / "job=1"
    record = make.record("bc", "speedup", 1)
    record = replace(record, columns=(*record.columns, Column("speedup_vs_x", float, "", "another")))
    files = RunFiles(folder, record.write(folder), tmp_path)
    for letter in "bc":
        files.append({**make.row(letter, speedup=1.5), "speedup_vs_x": 2.0})
    for _ in range(2):
        assert names(read_rows(tmp_path / "speedup.csv")) == "a"
        assert [row["speedup_vs_x"] for row in read_rows(tmp_path / "speedup_2.csv")] == ["2.0", "2.0"]
        assert names(read_rows(tmp_path / "sweep.csv")) == "abc"
        assert rebuild_sweep(tmp_path) == 3
    files.forget({"b" * 12})
    assert names(read_rows(tmp_path / "speedup_2.csv")) == "c"
    assert names(read_rows(tmp_path / "sweep.csv")) == "ac"


def test_sweep_is_read_from_its_jobs_in_order(tmp_path: Path, make: Any) -> None:
    """Jobs come in the order of their numbers, whatever their folders are called, and rebuilding restores the files."""
    for job, letters in ((10, "d"), (9, "cb"), (2, "a")):
        make_job(tmp_path, make, job, letters)
    assert names(read_run(tmp_path).rows) == "acbd"
    before = sorted((tmp_path / "sweep.csv").read_text().splitlines())
    (tmp_path / "sweep.csv").write_text("damaged")
    (tmp_path / "speedup.csv").unlink()
    assert rebuild_sweep(tmp_path) == 4
    assert sorted((tmp_path / "sweep.csv").read_text().splitlines()) == before
    assert names(read_rows(tmp_path / "speedup.csv")) == "acbd"
    with pytest.raises(UsageError, match="no sweep"):
        rebuild_sweep(tmp_path / "job=2")


def test_concurrent_jobs(tmp_path: Path, make: Any) -> None:
    """Jobs that run at the same time lose none of each other's rows."""
    context = multiprocessing.get_context("spawn")
    jobs = [context.Process(target=make_job, args=(tmp_path, make, job, "abcdefghij")) for job in range(4)]
    for process in jobs:
        process.start()
    for process in jobs:
        process.join()
    assert len(read_rows(tmp_path / "sweep.csv")) == len(read_rows(tmp_path / "speedup.csv")) == 40


def test_nested_records_are_not_runs(tmp_path: Path, make: Any) -> None:
    """A run.json among a run's artifacts isn't taken for a run; a folder without any is refused."""
    make_job(tmp_path, make, 0, "a")
    nested = tmp_path / "job=0" / "artifacts" / "x"
    make.record("z").write(nested)
    assert len(read_run(tmp_path).runs) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no run"):
        read_run(tmp_path / "empty")


def test_damaged_and_foreign_lines_are_counted(tmp_path: Path, make: Any) -> None:
    """Lines with another number of fields or wrong types are dropped and counted; a foreign file has no rows for us."""
    files = RunFiles(tmp_path, make.record("ab").write(tmp_path))
    files.append(make.row("a"))
    with files.rows.path.open("ab") as file:
        file.write(b"1,2,3\n\x00\xff\n" + b"," * 29 + b"\n")
    (tmp_path / "pending.csv").write_text("some,thing\n1,2\n")
    run = read_run(tmp_path).runs[0]
    assert names(list(run.rows)) == "a"
    assert run.dropped >= 3


@pytest.mark.parametrize("content", [b"", b"a,b", b"\n", b"a,b\n"])
def test_files_without_rows(tmp_path: Path, content: bytes) -> None:
    """An empty file, and one with a header or half of it, have no rows."""
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    assert read_rows(path) == []


def test_unreadable_file(tmp_path: Path) -> None:
    """A folder in the file's place is one sentence."""
    with pytest.raises(UsageError, match="can't read"):
        read_rows(tmp_path)


def test_samples_are_merged_by_name(tmp_path: Path, make: Any) -> None:
    """Arrays of a further process join those of the first; a repeated measurement replaces its own."""
    files = RunFiles(tmp_path, make.record("a").write(tmp_path))
    files.samples("a" * 12, {"tA": [1.0, 2.0], "tB": [3.0]})
    files.samples("a" * 12, {"tA": [5.0], "tC": np.arange(2)})  # type: ignore[dict-item]
    with np.load(files.samples_path("a" * 12)) as arrays:
        assert {key: list(arrays[key]) for key in arrays} == {"tA": [5.0], "tB": [3.0], "tC": [0, 1]}


def test_tables_are_typed(tmp_path: Path, make: Any) -> None:
    """Long tables begin with the cell's id and name, and take declared columns only."""
    files = RunFiles(tmp_path, make.record("a").write(tmp_path))
    files.table("a" * 12, "a/'\n", "graph_breaks", [{"reason": "x"}])
    assert (tmp_path / "graph_breaks.csv").read_text() == "cell_id,name,reason\naaaaaaaaaaaa,a/'\\n,x\n"
    with pytest.raises(RowError, match="undeclared"):
        files.table("a" * 12, "a", "graph_breaks", [{"other": "x"}])
    with pytest.raises(KeyError):
        files.table("a" * 12, "a", "other", [])
