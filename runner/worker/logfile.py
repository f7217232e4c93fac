"""A cell's log: the beginning and the end of what the child printed, and a line that says how much is missing."""

from __future__ import annotations

from collections import deque
from pathlib import Path

#: Bytes of the end that are kept in memory until the log is closed.
LARGEST_TAIL = 1 << 20


class BoundedLog:
    """Appends at most `limit` bytes and one line to `path`; after a disk error (`failed`) it only pretends to."""

    def __init__(self, path: Path, limit: int) -> None:
        self._tail_bytes = min(limit // 2, LARGEST_TAIL)
        self._head_room = limit - self._tail_bytes
        self._tail: deque[bytes] = deque()
        self._held = 0
        self._left_out = 0
        self.failed: OSError | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            self.failed = error

    def write(self, data: bytes) -> None:
        """Take in what the child printed."""
        head, rest = data[: self._head_room], data[self._head_room :]
        if head:
            self._head_room -= len(head)
            self._put(head)
        if rest:
            self._keep(rest)

    def close(self) -> None:
        """Write the kept end behind a line that says how much was left out."""
        if self._left_out:
            self._put(b"\n[... %d bytes left out (limits.log_bytes) ...]\n" % self._left_out)
        for chunk in self._tail:
            self._put(chunk)
        self._tail.clear()
        if self.failed is None:
            self._file.close()

    def _keep(self, data: bytes) -> None:
        self._tail.append(data)
        self._held += len(data)
        while self._held > self._tail_bytes:
            over = self._held - self._tail_bytes
            first = self._tail.popleft()
            if len(first) > over:
                self._tail.appendleft(first[over:])
            dropped = min(over, len(first))
            self._held -= dropped
            self._left_out += dropped

    def _put(self, data: bytes) -> None:
        if self.failed is not None:
            return
        try:
            self._file.write(data)
        except OSError as error:
            self.failed = error
            self._file.close()
