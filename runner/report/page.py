"""The HTML report: one file with everything in it, and nothing that could reach a network."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from runner import __version__
from runner.report.blocks import message_of, notes, status_words
from runner.report.console import joined, plain
from runner.report.details import details
from runner.report.export import figures_json
from runner.report.figures import SOURCE, Figures, Section, kind
from runner.report.pack import pack
from runner.report.sources import Part
from runner.results.columns import Column

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("core.js", "charts.js", "list.js", "summary.js", "detail.js", "start.js")
PLACE = re.compile(r"\{\{(\w+)\}\}")


def write_page(sections: Sequence[Section], stream: TextIO) -> None:
    """Write the page of these sections."""
    fills = {
        "title": html.escape(f"Benchmark report: {subtitle(sections[0])}"),
        "style": source("page.css"),
        "script": "\n".join(map(source, SCRIPTS)),
        "data": embedded(summary(sections)),
        "details": embedded(details(sections)),
    }
    # In one pass: what a result says is never searched for places to fill.
    stream.write(PLACE.sub(lambda found: fills[found[1]], source("page.html")))


def source(name: str) -> str:
    """One of the page's files."""
    return (PAGE / name).read_text(encoding="utf-8")


def embedded(data: Any) -> str:
    """JSON that no text in it can end: without `<`, it can neither close the element nor open a comment."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def summary(sections: Sequence[Section]) -> dict[str, Any]:
    """What the page needs at once."""
    parts = list({id(part): part for section in sections for part in section.parts}.values())
    places = {id(part): i for i, part in enumerate(parts)}
    made = datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")
    return {
        "footer": f"Made {made} by runner {__version__}.",
        "runs": [run(part) for part in parts],
        "sections": [section_data(section, places) for section in sections],
    }


def section_data(section: Section, places: Mapping[int, int]) -> dict[str, Any]:
    """One experiment's rows by column, and what they come to."""
    settings = [Column(key, str, "", "setting of the cell") for key in section.keys if "." in key]
    columns = list({c.name: c for part in section.parts for c in (*part.columns, SOURCE, *settings)}.values())
    data = {column.name: pack([row.get(column.name) for row in section.rows], column.type) for column in columns}
    there = [column for column in columns if data[column.name] is not None]
    return {
        "experiment": section.experiment,
        "subtitle": subtitle(section),
        "n": len(section.rows),
        "columns": [described(column) for column in there],
        "shown": list(dict.fromkeys(column.name for part in section.parts for column in part.shown)),
        "data": {column.name: data[column.name] for column in there},
        "kind": [kind(row) for row in section.rows],
        "run": [places[id(part)] for part in section.parts for _ in part.rows],
        "group": section.group_of,
        "keys": section.keys,
        "groups": [group(figures) for figures in section.figures],
        "notes": [*notes(section.parts)],
        "buckets": buckets(section),
    }


def described(column: Column) -> tuple[str, str, str, str]:
    """A column's facts."""
    return column.name, column.type.__name__, column.unit, column.meaning


def group(figures: Figures) -> dict[str, Any]:
    """The figures of one group."""
    plain_data = figures_json(figures)
    return {
        "labels": figures.labels,
        "passed": figures.passed,
        "attempted": figures.attempted,
        "counts": figures.counts,
        "left_out": joined(f"{n} {name}" for name, n in figures.left_out.items()),
        "speedup": plain_data["speedup"],
        "compile": plain_data["compile_s"],
        "memory": plain_data["memory_ratio"],
    }


def buckets(section: Section) -> list[dict[str, Any]]:
    """Failures by message, with the places of their rows."""
    return [
        {
            "status": status_words(bucket.example),
            "kind": kind(bucket.example),
            "message": message_of(bucket.example),
            "rows": bucket.places,
        }
        for bucket in section.buckets
    ]


def subtitle(section: Section) -> str:
    """What was measured on what, in one line."""
    words = [
        joined(dict.fromkeys(str(row[key]) for row in section.rows if row.get(key)))
        for key in ("suite", "backend", "precision", "mode", "device_name")
    ]
    torch = [(part.record.environment.get("torch") or {}).get("version") for part in section.parts if part.record]
    versions = joined(f"torch {version}" for version in dict.fromkeys(filter(None, torch)))
    return " · ".join(plain(word) for word in (section.experiment, *words, versions) if word)


def run(part: Part) -> dict[str, Any] | None:
    """Where a part comes from; None of a file whose run isn't known."""
    if part.record is None:
        return None
    record = part.record
    return {
        "directory": str(part.directory),
        "started": record.started,
        "command": " ".join(("python -m runner", *record.command)),
        "env_id": record.env_id,
        "environment": [[name, value] for name, value in flattened(record.environment)],
    }


def flattened(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as names and text, without those that aren't known."""
    found: list[tuple[str, str]] = []
    for key, value in data.items():
        if isinstance(value, Mapping):
            found += flattened(value, f"{prefix}{key}.")
        elif value not in (None, [], ""):
            found.append((f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)))
    return found
