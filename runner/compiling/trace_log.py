"""Listens to torch's structured trace (TORCH_TRACE), in which dynamo, AOT autograd and inductor say what they make."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Record:
    """One record: its name, its text, and the compilation that it belongs to (frame and how often it was compiled)."""

    name: str
    text: str
    frame: int | None
    compilation: int | None
    is_compiled_autograd: bool = False  # of the backward pass that compiled autograd captured

    @property
    def compile_id(self) -> str:
        """`0/1`, as dynamo writes it; empty outside of compilations."""
        return "" if self.frame is None else f"{self.frame}/{self.compilation}"


@contextmanager
def records() -> Iterator[list[Record]]:
    """A list that fills, inside, with every record that has a text."""
    from torch._logging._internal import trace_log

    found: list[Record] = []
    listener = _Listener(found)
    trace_log.addHandler(listener)
    try:
        yield found
    finally:
        trace_log.removeHandler(listener)


class _Listener(logging.Handler):
    """torch makes the records where their logger has a handler."""

    def __init__(self, found: list[Record]) -> None:
        super().__init__()
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, if it has a text. What it is called is a key of its own, or the name of an artifact."""
        metadata: dict[str, Any] = getattr(record, "metadata", {})
        text = getattr(record, "payload", None)
        if isinstance(text, str):
            name = metadata["artifact"]["name"] if "artifact" in metadata else next(iter(metadata))
            frame, compilation = metadata.get("frame_id"), metadata.get("frame_compile_id")
            backward = "compiled_autograd_id" in metadata
            self._found.append(Record(name, text, frame, compilation, backward))
