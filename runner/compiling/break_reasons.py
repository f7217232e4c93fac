"""Why dynamo broke a graph or gave up a frame, and where: read from what it says while it compiles."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from runner.compiling.trace_log import Record
from runner.results.columns import Column, Row

BREAKS = (
    Column("kind", str, "", "break: two graphs with Python between them; fallback: the whole frame is left to eager"),
    Column("count", int, "", "how often it was met while compiling"),
    Column("reason", str, "", "what dynamo calls it"),
    Column("file", str, "", "file of the innermost frame that is not torch's"),
    Column("line", int, "", "line in that file"),
    Column("explanation", str, "", "dynamo's explanation and hints"),
    Column("user_stack", str, "", "the user's frames from the outermost inwards, file:line in function"),
)
RECORD = "dynamo_graph_break_reason"
_GIVEN_UP = re.compile(r"Failed to handle graph break gracefully\..*?encountered:\s*", re.DOTALL)
_WHILE = re.compile(r"Encountered graph break when attempting to [^\n]*:\s*")
_PLACE = re.compile(
    r"Graph break in user code at (.*):(\d+)\nGraph Break Reason: (.*?)\n\nUser code traceback:\n", re.DOTALL
)
_FRAME = re.compile(r'^  File "(.*)", line (\d+), in (.*)$', re.MULTILINE)
_OWN = Path(__file__).parent


@dataclass(frozen=True)
class Break:
    """One graph break that was met; equal to another at the same place for the same reason."""

    kind: str
    reason: str
    file: str
    line: int
    explanation: str = field(compare=False)
    stack: str = field(compare=False)

    @property
    def row(self) -> Row:
        """Values of BREAKS, without the count."""
        return {
            "kind": self.kind,
            "reason": self.reason,
            "file": self.file,
            "line": self.line,
            "explanation": self.explanation,
            "user_stack": self.stack,
        }


def breaks(records: Iterable[Record]) -> list[Break]:
    """Breaks in the order in which dynamo met them."""
    found = (_read(record.text) for record in records if record.name == RECORD)
    return [each for each in found if each is not None]


def rows(found: Iterable[Break]) -> list[Row]:
    """Each break once, with how often it was met (BREAKS); the most frequent ones first."""
    counts = Counter(found)
    return [{**each.row, "count": count} for each, count in counts.most_common()]


def _read(text: str) -> Break | None:
    """None for what dynamo repeats when it logs a backend's failure, which raises anyway."""
    place = _PLACE.match(text)
    if place is None:
        return None
    file, line, words = place.groups()
    core, given_up = _GIVEN_UP.subn("", words)
    reason, _, explanation = _WHILE.sub("", core).strip().partition("\n")
    frames = _users(text[place.end() :].split("\nTraceback (most recent call last):", 1)[0])
    if frames:
        file, line, _ = frames[-1]
    stack = " > ".join(f"{name}:{number} in {function}" for name, number, function in frames)
    return Break("fallback" if given_up else "break", reason, file, int(line), explanation.strip(), stack)


def _users(stack: str) -> list[tuple[str, str, str]]:
    """File, line and function of the frames inwards of the runner's own, without torch's."""
    frames: list[tuple[str, str, str]] = _FRAME.findall(stack)
    own = [i for i, (file, *_) in enumerate(frames) if _OWN in Path(file).parents]
    return [frame for frame in frames[own[-1] + 1 if own else 0 :] if "/torch/" not in frame[0]]
