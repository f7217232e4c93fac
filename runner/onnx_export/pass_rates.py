"""Exporters side by side: how many models each exports, runs and gets right, and how fast the common ones are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runner.results.columns import Status

#: Statuses of cells that say nothing about an exporter: it never had its turn.
NOT_TRIED = frozenset({Status.SKIPPED, Status.UNSUPPORTED, Status.LOAD_ERROR, Status.EAGER_ERROR, Status.INTERRUPTED})
#: What makes two rows ones of the same model.
SUBJECT = ("suite", "name", "dev", "precision", "dynamic", "batch_size", "tag")
#: What tells tables apart.
PLACE = ("dev", "precision", "dynamic", "tag")
HEAD = ("exporter", "models", "exported", "ran", "correct", "common", "speedup of the common")
STEPS = ("exported", "ran", "correct")

Rows = Sequence[Mapping[str, Any]]


def tried(rows: Rows) -> list[Mapping[str, Any]]:
    """The rows that say something about an exporter."""
    return [row for row in rows if row.get("exporter") and row["status"] not in NOT_TRIED]


def table(rows: Rows) -> Iterable[str]:
    """Lines of one table for each device, precision and kind of shapes."""
    places: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in tried(rows):
        places.setdefault(tuple(str(row.get(key) or "") for key in PLACE), []).append(row)
    for words, group in places.items():
        if len(places) > 1:
            yield " ".join(filter(None, words))
        yield from _aligned([HEAD, *_lines(group)])


def _lines(rows: Rows) -> Iterable[tuple[str, ...]]:
    exporters = list(dict.fromkeys(str(row["exporter"]) for row in rows))
    speedups = {name: _speedups([row for row in rows if row["exporter"] == name]) for name in exporters}
    common = set.intersection(*(set(found) for found in speedups.values()))
    for name in exporters:
        own = [row for row in rows if row["exporter"] == name]
        counts = [sum(row.get(step) is True for row in own) for step in STEPS]
        shares = [f"{n} ({100 * n / len(own):.1f} %)" for n in counts]
        mean = math.exp(sum(math.log(speedups[name][key]) for key in common) / len(common)) if common else None
        yield name, str(len(own)), *shares, str(len(common)), f"{mean:.4f}x" if mean else "-"


def _speedups(rows: Rows) -> dict[tuple[str, ...], float]:
    """Speedup by model, of those whose numbers count: right, and measured well enough."""
    usable = [row for row in rows if row["status"] == Status.OK and row.get("speedup") and row.get("converged")]
    return {tuple(str(row.get(key) or "") for key in SUBJECT): row["speedup"] for row in usable}


def _aligned(lines: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    for line in lines:
        numbers = [word.rjust(width) for word, width in zip(line[1:], widths[1:], strict=True)]
        yield "  ".join([line[0].ljust(widths[0]), *numbers])
