"""The crash-safe CSV file, with real processes that write, fail and are killed."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from runner.results import writer
from runner.results.columns import Column
from runner.results.reader import read_rows, read_table
from runner.results.text import RowError
from runner.results.writer import CsvFile, WriteError

COLUMNS = (Column("who", str, "", "writer"), Column("n", int, "", "number"), Column("text", str, "", "filler"))
WRITE_MANY = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from runner.results.columns import Column
    from runner.results.writer import CsvFile
    path, who, count, size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    file = CsvFile(path, (Column("who", str, "", ""), Column("n", int, "", ""), Column("text", str, "", "")))
    for n in range(count):
        file.append({"who": who, "n": n, "text": "x" * size})
        print(n, flush=True)
    """
)


def start_writer(path: Path, who: str, count: int, size: int) -> subprocess.Popen[bytes]:
    """A process that appends `count` rows and prints the number of each when it is done."""
    command = [sys.executable, "-c", WRITE_MANY, str(path), who, str(count), str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_header_once_then_rows(tmp_path: Path) -> None:
    """The header is written with the first row and never again, also by another writer."""
    path = tmp_path / "deep" / "rows.csv"
    CsvFile(path, COLUMNS).append({"who": "a", "n": 1})
    CsvFile(path, COLUMNS).append({"who": "b", "n": 2, "text": 'quo"te, comma'})
    assert path.read_text() == 'who,n,text\na,1,\nb,2,"quo""te, comma"\n'


def test_a_bad_row_leaves_the_file_alone(tmp_path: Path) -> None:
    """Of rows appended together none is written when one has an undeclared key."""
    file = CsvFile(tmp_path / "rows.csv", COLUMNS)
    with pytest.raises(RowError, match="undeclared columns: speed"):
        file.append({"who": "a"}, {"speed": 1.0})
    assert not file.path.exists()


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    """Rows of six processes are all there, whole and in each process's order, under one header."""
    path = tmp_path / "rows.csv"
    writers = [start_writer(path, str(i), 40, 3000) for i in range(6)]
    for process in writers:
        process.communicate()
    table = read_table(path, COLUMNS)
    assert table.dropped == 0
    assert len(table.rows) == 240
    for i in range(6):
        assert [row["n"] for row in table.rows if row["who"] == str(i)] == list(range(40))


def test_killed_writers_lose_at_most_the_row_being_written(tmp_path: Path) -> None:
    """SIGKILL at random moments: every row that was reported done is readable, and at most one more."""
    path, rng = tmp_path / "rows.csv", random.Random(0)
    for i in range(20):
        process = start_writer(path, str(i), 100_000, 20_000)
        assert process.stdout is not None
        for _ in range(rng.randrange(1, 25)):
            process.stdout.readline()
        for _ in range(rng.randrange(20_000)):  # a moment within the next row, without a clock
            pass
        process.kill()
        rest = process.stdout.read().decode().split()
        process.wait()
        process.stdout.close()
        numbers = [row["n"] for row in read_rows(path, COLUMNS) if row["who"] == str(i)]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= 1
        if rest:
            assert int(rest[-1]) + 1 <= len(numbers) <= int(rest[-1]) + 2
    table = read_table(path, COLUMNS)
    assert table.dropped == 0
    assert all(row["text"] == "x" * 20_000 for row in table.rows)


def test_a_line_cut_anywhere_is_repaired(tmp_path: Path) -> None:
    """Wherever a kill cut the file, header included, whole rows are read and the next writer goes on cleanly."""
    whole = tmp_path / "whole.csv"
    CsvFile(whole, COLUMNS).append({"who": "a", "n": 1}, {"who": "b", "n": 2, "text": "é,"})
    content = whole.read_bytes()
    for cut in range(len(content) + 1):
        path = tmp_path / "cut.csv"
        path.write_bytes(content[:cut])
        before = read_rows(path, COLUMNS)
        assert len(before) == max(0, content[:cut].count(b"\n") - 1)
        CsvFile(path, COLUMNS).append({"who": "c", "n": 3})
        assert read_rows(path, COLUMNS) == [*before, {"who": "c", "n": 3, "text": ""}]


def test_repair_looks_back_over_long_lines(tmp_path: Path) -> None:
    """The last newline is found also when it lies further back than one block."""
    path = tmp_path / "rows.csv"
    CsvFile(path, COLUMNS).append({"who": "a", "n": 1})
    with path.open("ab") as file:
        file.write(b"b,2," + b"x" * 200_000)
    CsvFile(path, COLUMNS).append({"who": "c", "n": 3})
    assert [row["who"] for row in read_rows(path, COLUMNS)] == ["a", "c"]


def test_foreign_file_is_refused_untouched(tmp_path: Path) -> None:
    """A file with another header is neither appended to nor cut, even where its last line lacks a newline."""
    path = tmp_path / "rows.csv"
    path.write_text("other,columns\n1,2")
    with pytest.raises(WriteError, match="has other columns than this run writes"):
        CsvFile(path, COLUMNS).append({"who": "a"})
    with pytest.raises(WriteError, match="has other columns"):
        CsvFile(path, COLUMNS).remove(lambda row: True)
    assert path.read_text() == "other,columns\n1,2"


def test_remove_keeps_the_others_byte_for_byte(tmp_path: Path) -> None:
    """Only superseded rows go; a line that is no row stays, as do the bytes of all others."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b'who,n,text\na,1,"q"\nb,2,\nnot a row\na,3,\xff\n')
    assert CsvFile(path, COLUMNS).remove(lambda row: row["n"] in (2, 3)) == 2
    assert path.read_bytes() == b'who,n,text\na,1,"q"\nnot a row\n'
    assert CsvFile(path, COLUMNS).remove(lambda row: row["who"] == "b") == 0
    assert CsvFile(tmp_path / "none.csv", COLUMNS).remove(lambda row: True) == 0


def test_removing_while_others_append(tmp_path: Path) -> None:
    """Rows appended by another process while rows are removed are not lost."""
    path = tmp_path / "rows.csv"
    file = CsvFile(path, COLUMNS)
    process = start_writer(path, "other", 60, 100)
    for n in range(30):
        file.append({"who": "me", "n": n})
        assert file.remove(lambda row: row["who"] == "me") == 1
    process.communicate()
    assert [row["n"] for row in read_rows(path, COLUMNS)] == list(range(60))


def test_a_kill_during_removal_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the rename the file is the old one; a half-written temporary file is no obstacle afterwards."""
    file = CsvFile(tmp_path / "rows.csv", COLUMNS)
    file.append({"who": "a"}, {"who": "b"})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            file.remove(lambda row: row["who"] == "a")
    assert [row["who"] for row in read_rows(file.path)] == ["a", "b"]
    assert file.remove(lambda row: row["who"] == "a") == 1
    assert [row["who"] for row in read_rows(file.path)] == ["b"]


def test_full_disk_loses_nothing(tmp_path: Path) -> None:
    """When the system takes only part of a line, the file is as before, the error says why, and writing goes on."""
    file = CsvFile(tmp_path / "rows.csv", COLUMNS)
    file.append({"who": "a", "n": 1})
    before = file.path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
    try:
        with pytest.raises(WriteError, match=r"can't write .*rows.csv: File too large"):
            file.append({"who": "b", "n": 2, "text": "x" * 1000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert file.path.read_bytes() == before
    file.append({"who": "c", "n": 3})
    assert [row["who"] for row in read_rows(file.path)] == ["a", "c"]


def test_no_space_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC from the system, also as late as at fsync, is a WriteError with its words, and the row is taken back."""
    file = CsvFile(tmp_path / "rows.csv", COLUMNS)
    file.append({"who": "a"})

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(writer.os, "fsync", full)
    with pytest.raises(WriteError, match="No space left on device"):
        file.append({"who": "b"})
    assert [row["who"] for row in read_rows(file.path)] == ["a"]


def test_unwritable_folder_is_named() -> None:
    """A folder that takes no files gives a WriteError with its path."""
    with pytest.raises(WriteError, match=r"can't write /proc/self/rows.csv: "):
        CsvFile(Path("/proc/self/rows.csv"), COLUMNS).append({"who": "a"})


def test_a_lock_held_for_too_long_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that never lets go of the lock is reported instead of waited for without end."""
    monkeypatch.setattr(writer, "LOCK_TIMEOUT_S", -1.0)
    file = CsvFile(tmp_path / "rows.csv", COLUMNS)
    with writer.writing(file.path), pytest.raises(WriteError, match="has held the lock"):
        file.append({"who": "a"})
