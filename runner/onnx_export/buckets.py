"""Errors of many models, grouped by what they say once addresses, sizes and generated names are taken out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

#: What differs between two messages of one kind, and what stands for it. In this order.
RULES = tuple(
    (re.compile(pattern), word)
    for pattern, word in (
        (r"\x1b\[[\d;]*m", ""),
        (r"\b0x[0-9a-fA-F]+\b", "ADDRESS"),
        (r"(?:/[\w.+-]+){2,}\.\w+(?::\d+)?", "FILE"),  # a path with a suffix; names of nodes have slashes too
        (r"(?i)\b((?:node|value|tensor|input|output)s?(?: with)? name:?) *(['\"]).*?\2", r"\1 NAME"),
        (r"\bName: ?(['\"]).*?\1", "Name: NAME"),
        (r"(['\"])/[^'\"]*\1", "NAME"),
        (r"%[\w.]+", "%NAME"),
        (r"\b([A-Za-z][A-Za-z_]*?)_\d+\b", r"\1_N"),
        (r"(?:torch\.Size\()?[\[({] ?(?:[-\w.*+]+ ?[,x] ?)*-?\d+,? ?[\])}]\)?", "SHAPE"),
        (r"\b[us]\d+\b", "SYMBOL"),
        (r"(?<![\w.:])-?\d+(?:\.\d+)?(?:e-?\d+)?\b", "N"),
    )
)


@dataclass
class Bucket:
    """Cells whose errors say the same: where, what kind, and which models by the label that tells them apart."""

    where: str
    kind: str
    message: str
    cells: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """`3x export DispatchError: No ONNX function ... (a, b, c)`."""
        models = ", ".join(dict.fromkeys(self.cells))
        return f"{len(self.cells)}x {self.where} {self.kind}: {self.message} ({models})"


def normalized(message: str) -> str:
    """The message without what belongs to one model only; names of operators stay."""
    for pattern, word in RULES:
        message = pattern.sub(word, message)
    return " ".join(message.split())


def buckets(rows: Iterable[Mapping[str, object]]) -> list[Bucket]:
    """Errors of rows with columns `name`, `step`, `error_type`, `error`; the most frequent first."""
    found: dict[tuple[str, str, str], Bucket] = {}
    for row in rows:
        where, kind = str(row.get("step") or row.get("phase") or ""), str(row.get("error_type") or row["status"])
        message = normalized(str(row.get("error") or ""))
        found.setdefault((where, kind, message), Bucket(where, kind, message)).cells.append(str(row["name"]))
    return sorted(found.values(), key=lambda bucket: -len(bucket.cells))


def lines(rows: Sequence[Mapping[str, object]]) -> Iterable[str]:
    """What there is to print about the errors of these rows."""
    found = buckets(rows)
    if found:
        yield f"{len(rows)} cells failed in {len(found)} ways (details in onnx_export_errors.csv):"
        yield from (f"  {bucket.line}" for bucket in found)
