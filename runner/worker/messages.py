"""Messages between parent, server and child: JSON behind a length, never pickle.

JSON as Python writes it, so NaN and infinities pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Message = dict[str, Any]
_LONGEST_HEAD = 20  # digits of a length and its newline


class Garbled(Exception):  # noqa: N818 - reads as a statement at the raise site
    """What came over the channel is not ours: something in the child wrote to our file descriptor."""


def encode(message: Mapping[str, Any]) -> bytes:
    """`message` as bytes; NumPy and torch values become numbers and lists."""
    payload = json.dumps(message, default=_plain).encode()
    return b"%d\n%b" % (len(payload), payload)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


class Decoder:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Messages that are complete with `data`; raises Garbled."""
        self._buffer += data
        while (message := self._next()) is not None:
            yield message

    def _next(self) -> Message | None:
        head, newline, _ = bytes(self._buffer[:_LONGEST_HEAD]).partition(b"\n")
        if not newline and len(self._buffer) < _LONGEST_HEAD:
            return None
        if not head.isdigit():
            raise Garbled(f"unexpected bytes on the message channel: {head!r}")
        start, end = len(head) + 1, len(head) + 1 + int(head)
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[start:end])
        del self._buffer[:end]
        try:
            return dict(json.loads(payload))
        except (ValueError, TypeError) as error:
            raise Garbled(f"unexpected bytes on the message channel: {payload[:_LONGEST_HEAD]!r}") from error
