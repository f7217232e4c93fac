"""What can be compared, and what is said of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.compare.sides import NO_ROW, read_side
from runner.errors import UsageError

UPSTREAM = "dev,name,batch_size,speedup,abs_latency\ncpu,resnet18,16,1.25,8.5\ncpu,bert,4,0.0,0.0\ncpu,cut,4,1."


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    """One sentence with the path."""
    with pytest.raises(UsageError, match="nowhere: there is no such file or folder"):
        read_side(tmp_path / "nowhere")


def test_folders_without_results(tmp_path: Path) -> None:
    """An empty folder and one with other files are refused alike."""
    with pytest.raises(UsageError, match="holds no run"):
        read_side(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UsageError, match="holds no run"):
        read_side(tmp_path)


def test_a_run_without_any_row_yet(maker: Any) -> None:
    """Its cells count as asked for; none has a row."""
    assert [entry.status for entry in maker.side({"a": None}).entries] == [NO_ROW]


def test_a_future_format(maker: Any) -> None:
    """Results of a newer version name the version."""
    folder = maker.run({"a": {}})
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(UsageError, match="result format 99"):
        read_side(folder)


def test_cut_and_damaged_lines(maker: Any) -> None:
    """A last line without its end is not read, a damaged one is counted, the others stay."""
    folder = maker.run({"a": {}, "b": {}})
    with (folder / "speedup.csv").open("a") as file:
        file.write("too,few,fields\ncpu,c,8,")
    side = read_side(folder)
    assert [entry.name for entry in side.entries] == ["a", "b"]
    assert side.dropped == 1


def test_a_csv_of_ours(maker: Any, tmp_path: Path) -> None:
    """In its run's folder the file stands for the run; moved away it is read alone."""
    folder = maker.run({"a": {}, "b": None})
    inside = read_side(folder / "speedup.csv")
    assert [(entry.name, bool(entry.config)) for entry in inside.entries] == [("a", True), ("b", True)]
    (tmp_path / "moved.csv").write_text((folder / "speedup.csv").read_text())
    alone = read_side(tmp_path / "moved.csv")
    assert [(entry.name, entry.row["speedup"], bool(entry.config)) for entry in alone.entries] == [("a", 1.5, False)]
    assert not alone.foreign


def test_a_csv_of_dynamobench(tmp_path: Path) -> None:
    """Speedups without intervals are read; a speedup of 0 is a model that failed."""
    path = tmp_path / "inductor.csv"
    path.write_text(UPSTREAM)
    side = read_side(path)
    assert side.foreign
    assert [(e.name, e.status, e.row["speedup"]) for e in side.entries] == [
        ("resnet18", "ok", 1.25),
        ("bert", "run_error", None),
    ]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "dev,name,batch_size,speedup\n", "\x00\x01\x02"])
def test_other_files(tmp_path: Path, text: str) -> None:
    """A file that holds no results is refused in one sentence that names it."""
    path = tmp_path / "other.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match="other.csv"):
        read_side(path)


def test_logs_beside_the_results_are_not_read(maker: Any) -> None:
    """A sparse log of 10 GB costs nothing."""
    folder = maker.run({"a": {}})
    (folder / "logs").mkdir()
    with (folder / "logs" / "a.log").open("wb") as file:
        file.truncate(10_000_000_000)
    assert len(read_side(folder).entries) == 1
