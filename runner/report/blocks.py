"""The report as text blocks, whatever they are printed with: headings, sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from runner.report.console import joined, plain, scalar_text, short_path, title_of, value_text
from runner.report.figures import NOT_ATTEMPTED, SOURCE, Figures, Section, kind
from runner.report.sources import MISSING, Part
from runner.report.terminal import conclusions, limits
from runner.results.columns import Column, Row

#: Models that are named in a line before "and N more".
NAMED = 5


@dataclass(frozen=True)
class Heading:
    """Title of what follows; the one of an experiment has level 1."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Sentence:
    """One line of text."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of text; `right` are the places of columns that hold numbers."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Lines:
    """Text whose columns stand below each other."""

    lines: Sequence[str]


Block = Heading | Sentence | Table | Lines


def blocks(sections: Sequence[Section], num_rows: int) -> Iterator[Block]:
    """All blocks of a report; a table of models has at most `num_rows` rows (0: all)."""
    for section in sections:
        yield Heading(section.experiment, 1)
        yield from map(Sentence, notes(section.parts))
        yield figures_table(section)
        yield from map(Sentence, left_out(section))
        yield from said(section)
        yield Heading("Models")
        yield from models(section, num_rows)
        yield from failures(section)
        yield from flags(section)


def notes(parts: Sequence[Part]) -> Iterator[str]:
    """What a reader has to know about where the rows come from."""
    for part in parts:
        where = short_path(part.directory)
        if part.foreign:
            yield f"{where}: written by dynamobench; its numbers come without intervals and without a correctness check"
        if part.dropped:
            yield f"{where}: {part.dropped} damaged line{'s' if part.dropped > 1 else ''} ignored"
        if not part.rows:
            yield f"{where}: no rows"


def figures_table(section: Section) -> Table:
    """The figures of every group, a row each."""
    keys = [key for key in section.keys if any(figures.labels[key] for figures in section.figures)]
    values = [
        ("speedup (gmean)", [mean_cell(f) for f in section.figures]),
        ("measurement interval", [interval_cell(f, "measurement") for f in section.figures]),
        ("suite interval", [interval_cell(f, "suite") for f in section.figures]),
        ("compile_s (mean)", [average_cell(f.mean_compile_s, "s") for f in section.figures]),
        ("memory ratio (mean)", [average_cell(f.mean_memory_ratio, "x") for f in section.figures]),
    ]
    shown = [(head, cells) for head, cells in values if any(cells)]
    rows = [
        [*(plain(f.labels[key]) for key in keys), pass_rate(f), *(cells[i] for _, cells in shown)]
        for i, f in enumerate(section.figures)
    ]
    heads = [*keys, "pass rate", *(head for head, _ in shown)]
    return Table(heads, rows, frozenset(range(len(keys), len(heads))))


def pass_rate(figures: Figures) -> str:
    """`94.4 % (17/18)`."""
    if not figures.attempted:
        return "- (0/0)"
    return f"{100 * figures.passed / figures.attempted:.1f} % ({figures.passed}/{figures.attempted})"


def mean_cell(figures: Figures) -> str:
    """The mean with its number of models."""
    return f"{figures.speedup.center:.4f}x (n={figures.speedup.n})" if figures.speedup else ""


def interval_cell(figures: Figures, name: str) -> str:
    """One of the mean's two intervals; `unknown` where there is a mean and no interval of this sort."""
    if not figures.speedup:
        return ""
    interval = getattr(figures.speedup, name)
    return limits(interval) if interval else "unknown"


def average_cell(average: tuple[float, int] | None, unit: str) -> str:
    """A mean with its number of models."""
    return f"{scalar_text(average[0])} {unit} (n={average[1]})" if average else ""


def left_out(section: Section) -> Iterator[str]:
    """For every group: what its pass rate doesn't count and its means leave out."""
    for figures in section.figures:
        out = [f"{n} {name}" for name, n in figures.left_out.items()]
        apart = [f"{figures.counts[name]} {name}" for name in NOT_ATTEMPTED if figures.counts[name]]
        words = [f"left out of the means: {joined(out)}"] if out else []
        words += [f"not in the pass rate: {joined(apart)}"] if apart else []
        if words:
            yield f"{label_of(section, figures)}{'; '.join(words)}"


def label_of(section: Section, figures: Figures) -> str:
    """`timm inductor bf16: `; empty where there is one group only."""
    if len(section.figures) == 1:
        return ""
    return f"{' '.join(plain(value) for value in figures.labels.values() if value)}: "


def said(section: Section) -> Iterator[Block]:
    """What the experiment concludes from its rows, of each of the given folders where these are told apart."""
    parts = [part for part in section.parts if part.record]  # a lone CSV doesn't say the types of its columns
    apart = SOURCE.name in section.keys
    for label in dict.fromkeys(part.label if apart else "" for part in parts):
        rows = [row for part in parts if not apart or part.label == label for row in part.rows]
        there = [row for row in rows if kind(row) != MISSING]
        lines = conclusions(section.experiment, there, len(rows) - len(there))
        if lines:
            yield from [Sentence(f"{plain(label)}:")] if apart else []
            yield Lines(tuple(map(plain, lines)))


def models(section: Section, num_rows: int) -> Iterator[Block]:
    """A row per cell in catalogue order; of too many, those with the lowest speedups."""
    rows, total = list(section.rows), len(section.rows)
    if num_rows and total > num_rows:
        rows = sorted(rows, key=speedup_or_inf)[:num_rows]
    yield models_table(section, rows)
    if len(rows) < total:
        yield Sentence(
            f"{len(rows)} of {total} rows, lowest speedups first; --rows 0 shows all, --format csv or html has them all"
        )


def speedup_or_inf(row: Row) -> float:
    """To sort by speedup, what has none last."""
    value = row.get("speedup")
    return value if isinstance(value, float) and not math.isnan(value) else math.inf


def models_table(section: Section, rows: Sequence[Row]) -> Table:
    """The experiment's summary columns of these rows; columns without a value are left out."""
    columns = list(dict.fromkeys(column for part in section.parts for column in part.shown))
    shown = [column for column in columns if any(value_text(row, column) for row in rows)]
    keys = [key for key in section.keys if len({figures.labels[key] for figures in section.figures}) > 1]
    flagged = any(row.get("flags") for row in rows)
    heads = ["model", *keys, "status", *map(title_of, shown), *(["flags"] if flagged else [])]
    body = [
        [*(plain(row.get(key) or "") for key in ("name", *keys)), status_words(row), *values_of(row, shown)]
        + ([plain(row.get("flags") or "")] if flagged else [])
        for row in rows
    ]
    first = 2 + len(keys)
    return Table(heads, body, frozenset(first + i for i, column in enumerate(shown) if column.type is not str))


def values_of(row: Row, columns: Sequence[Column]) -> list[str]:
    """The row's values as text."""
    return [value_text(row, column) for column in columns]


def status_words(row: Row) -> str:
    """The status, with the phase in which it came about."""
    return " in ".join(plain(row[key]) for key in ("status", "phase") if row.get(key))


def failures(section: Section) -> Iterator[Block]:
    """What failed, by message, and what has no row."""
    if section.buckets:
        yield Heading("Failures by message")
        heads = ("count", "status", "message", "models")
        rows = [
            [str(len(b.names)), status_words(b.example), message_of(b.example), some(b.names)] for b in section.buckets
        ]
        yield Table(heads, rows, frozenset({0}))
    missing = [row["name"] for row in section.rows if kind(row) == MISSING]
    if missing:
        yield Sentence(f"{len(missing)} without a row yet: {some(missing)}")


def message_of(row: Row) -> str:
    """Type and message of a failure."""
    return ": ".join(plain(row[key]) for key in ("error_type", "error") if row.get(key))


def flags(section: Section) -> Iterator[Block]:
    """How often each flag was set, and where."""
    if section.flags:
        yield Heading("Flags")
        rows = [[word, str(len(names)), some(names)] for word, names in section.flags.items()]
        yield Table(("flag", "count", "models"), rows, frozenset({1}))


def some(names: Sequence[Any]) -> str:
    """The first few names, and how many more there are."""
    first = list(dict.fromkeys(map(plain, names)))
    more = len(first) - NAMED
    return joined(first[:NAMED]) + (f" and {more} more" if more > 0 else "")
