"""A CSV file that many processes append to and that a kill at any moment leaves readable.

Every change happens under a lock that the kernel drops with its holder. A row is one `write` of one line; what a
killed writer left of a line is cut off by the next one.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runner.results.columns import Column, Row
from runner.results.text import format_line, join_fields, parse_fields, split_line

LOCK_TIMEOUT_S = 120.0
LOCK_POLL_S = 0.005


class WriteError(RuntimeError):
    """A result file can't be written; nothing that was in it is lost. The message names the file and the reason."""


class OtherColumnsError(WriteError):
    """The file is there, with other columns than are to be written."""


class CsvFile:
    """Appends rows of fixed columns to one file, and removes superseded ones.

    The file comes into being, with its header, with the first row. An existing file with another header is refused.
    """

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self.path = path
        self.columns = tuple(columns)
        self.header = join_fields([column.name for column in columns]).encode()

    def append(self, *rows: Row) -> None:
        """Append all of `rows` or none. Raises RowError for rows that don't fit the columns, WriteError."""
        lines = "".join(format_line(row, self.columns) for row in rows).encode(errors="backslashreplace")
        if not lines:
            return
        with writing(self.path), opened(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND) as file:
            self._repair(file)
            new = os.fstat(file).st_size == 0
            write_whole(file, self.header + lines if new else lines)
            if new:
                sync_directory(self.path.parent)

    def remove(self, superseded: Callable[[Row], bool]) -> int:
        """Remove the rows for which `superseded` says so, and return how many; all others stay as they are.

        A line that can't be read as a row stays too. Raises WriteError.
        """
        if not self.path.exists():
            return 0
        with writing(self.path):
            with opened(self.path, os.O_RDWR) as file:
                self._repair(file)
            head, *lines = self.path.read_bytes().split(b"\n")[:-1] or [b""]
            kept = [line for line in lines if not self._matches(line, superseded)]
            if len(kept) < len(lines):
                replace_file(self.path, b"".join(line + b"\n" for line in (head, *kept)))
            return len(lines) - len(kept)

    def _matches(self, line: bytes, superseded: Callable[[Row], bool]) -> bool:
        names, types = [c.name for c in self.columns], [c.type for c in self.columns]
        row = parse_fields(split_line(line.decode(errors="replace")), names, types)
        return row is not None and superseded(row)

    def _repair(self, file: int) -> None:
        """Refuse a file that isn't ours; cut off what a killed writer left of its last line."""
        size = os.fstat(file).st_size
        start = os.pread(file, len(self.header), 0)
        if start != self.header[: len(start)]:
            text = f"{self.path} has other columns than this run writes; move it away or use a new folder"
            raise OtherColumnsError(text)
        whole = end_of_last_line(file, size) if size >= len(self.header) else 0
        if whole < size:
            os.ftruncate(file, whole)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Hold the lock of `path`; errors of the operating system become WriteError. Makes the folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with opened(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT) as lock:
            acquire(lock, path)
            try:
                yield
            finally:
                # Not left to close(): a process forked meanwhile shares the open file and would keep the lock.
                fcntl.flock(lock, fcntl.LOCK_UN)
    except OSError as error:
        raise WriteError(f"can't write {path}: {error.strerror or error}") from error


def acquire(lock: int, path: Path) -> None:
    """Wait for the lock; raise WriteError when another process keeps it for LOCK_TIMEOUT_S."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                held = f"another process has held the lock of {path} for {LOCK_TIMEOUT_S:.0f} s"
                raise WriteError(f"{held}; see which with: fuser {path.with_name(f'.{path.name}.lock')}") from None
            time.sleep(LOCK_POLL_S)
        else:
            return


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """File descriptor of `path`, closed afterwards."""
    file = os.open(path, flags, 0o666)
    try:
        yield file
    finally:
        os.close(file)


def write_whole(file: int, data: bytes) -> None:
    """Append `data` and have it on the disk, or leave the file as it was and raise OSError.

    It is one `write`: only a full disk or a limit makes it come up short, and then the next one says why.
    """
    end = os.fstat(file).st_size
    try:
        while data:
            data = data[os.write(file, data) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, end)
        raise


def end_of_last_line(file: int, size: int, block: int = 1 << 16) -> int:
    """Offset after the last newline among the first `size` bytes; 0 where there is none."""
    while size > 0:
        start = max(0, size - block)
        found = os.pread(file, size - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        size = start
    return 0


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` in the place of the file's content; after a kill it holds either the old or the new."""
    temporary = path.with_name(f".{path.name}.tmp")
    with opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
        write_whole(file, data)
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Have the folder's entries on the disk."""
    with opened(path, os.O_RDONLY) as folder:
        os.fsync(folder)
