"""What rows come to: the four figures of a group, failures by message, flags by word."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from runner.report.labels import labelled
from runner.report.sources import MISSING, Part
from runner.report.terminal import LEFT_OUT, kind_of, log_se, positive
from runner.results.columns import Column, Row
from runner.results.status import is_failure

#: What the figures are given for, one group for each combination.
GROUP = ("suite", "backend", "precision", "mode", "dev")
#: These tell groups apart as well, where they differ; then the settings in which rows of one model differ.
FURTHER = ("device_name", "dynamic", "task", "optimizer", "parallel", "tag")
#: Tells the same model of several runs apart; a column of reports only.
SOURCE = Column("from", str, "", "folder or file that was given")
#: Rows of these kinds were never attempted: they are no part of the pass rate's denominator.
NOT_ATTEMPTED = ("skipped", "unsupported")
#: Applied in this order to a message; what remains names a bucket.
VARYING = (
    (re.compile(r"0x[0-9a-fA-F]+"), "0x*"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b"), "*"),
    (re.compile(r"[\[(]\s*-?(?:s?\d+|None)(?:\s*[,x]\s*-?(?:s?\d+|None))*\s*,?\s*[\])]"), "[*]"),
    (re.compile(r"(?<![A-Za-z_\d.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"), "*"),
    (re.compile(r"(?<=\bs)\d+\b"), "*"),
)


@dataclass(frozen=True)
class Mean:
    """Geometric mean of the speedups; an interval is None where it can't be known, and `n` are the models in it."""

    center: float
    measurement: tuple[float, float] | None
    suite: tuple[float, float] | None
    n: int
    num_without_interval: int


@dataclass(frozen=True)
class Figures:
    """The dashboard's figures of one group of rows.

    `passed` of `attempted` cells gave right results; `counts` says for every kind how many there are. The means are
    over the `ok` rows alone: `mean_compile_s` and `mean_memory_ratio` with the number of rows that have one.
    """

    labels: Mapping[str, str]
    counts: Mapping[str, int]
    speedup: Mean | None = None
    num_unusable: int = 0
    mean_compile_s: tuple[float, int] | None = None
    mean_memory_ratio: tuple[float, int] | None = None

    @property
    def passed(self) -> int:
        """Cells with right outputs, however wide their interval is."""
        return self.counts["ok"] + self.counts["unconverged"]

    @property
    def attempted(self) -> int:
        """All cells but those that were never meant to run here."""
        return sum(n for kind, n in self.counts.items() if kind not in NOT_ATTEMPTED)

    @property
    def left_out(self) -> dict[str, int]:
        """Kinds of rows that the means leave out although they were meant to be in, with how many."""
        found = {kind: self.counts[kind] for kind in LEFT_OUT if self.counts[kind]}
        return {**found, **({"without a usable speedup": self.num_unusable} if self.num_unusable else {})}


@dataclass
class Bucket:
    """Failures that say the same: the first one's words, and all models."""

    key: tuple[str, ...]
    example: Row
    names: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)  # among the rows of the section


@dataclass(frozen=True)
class Section:
    """All that a report says of one experiment. `group_of` gives the place in `figures` of each row."""

    experiment: str
    parts: Sequence[Part]
    rows: Sequence[Row]
    keys: Sequence[str]
    figures: Sequence[Figures]
    group_of: Sequence[int]
    buckets: Sequence[Bucket]
    flags: Mapping[str, list[str]]


KINDS = ("ok", "wrong", "failed", "unconverged", "unsupported", "skipped", MISSING)


def sections(parts: Sequence[Part]) -> list[Section]:
    """One section for each experiment, in the order of the parts."""
    names = dict.fromkeys(part.experiment for part in parts)
    return [section(name, [part for part in parts if part.experiment == name]) for name in names]


def section(experiment: str, parts: Sequence[Part]) -> Section:
    """Group the rows of one experiment and compute what they come to."""
    rows = [row for part in parts for row in part.rows]
    sources = [part.label for part in parts for _ in part.rows]
    keys = group_keys(rows)
    if repeated([tuple(row.get(key) for key in ("name", "batch_size", *keys)) for row in rows], sources):
        keys = (*keys, SOURCE.name)
        rows = [{**row, SOURCE.name: source} for row, source in zip(rows, sources, strict=True)]
    configs = [part.record.cells.get(row["cell_id"], {}) if part.record else {} for part in parts for row in part.rows]
    rows, settings = labelled(rows, configs, keys)
    keys = (*keys, *settings)
    places = [tuple(str(row.get(key) or "") for key in keys) for row in rows]
    groups: dict[tuple[str, ...], list[Row]] = {}
    for place, row in zip(places, rows, strict=True):
        groups.setdefault(place, []).append(row)
    order = {place: i for i, place in enumerate(groups)}
    figures = [figures_of(dict(zip(keys, place, strict=True)), group) for place, group in groups.items()]
    return Section(
        experiment, parts, rows, keys, figures, [order[place] for place in places], buckets(rows), flags(rows)
    )


def group_keys(rows: Sequence[Row]) -> tuple[str, ...]:
    """The keys that make a group: the five, and what else differs. A row that failed early may lack its device."""
    differ = (key for key in FURTHER if len({row[key] for row in rows if row.get(key)}) > 1)
    return (*GROUP, *differ)


def repeated(places: Sequence[tuple[Any, ...]], sources: Sequence[str]) -> bool:
    """Whether a model of a group is in more than one of what was given."""
    return len(set(zip(places, sources, strict=True))) > len(set(places))


def kind(row: Row) -> str:
    """One of KINDS."""
    return MISSING if row["status"] == MISSING else kind_of(row)


def figures_of(labels: Mapping[str, str], rows: Sequence[Row]) -> Figures:
    """The figures of one group."""
    kinds = [kind(row) for row in rows]
    found = Counter(kinds)
    good = [row for row, its in zip(rows, kinds, strict=True) if its == "ok"]
    usable = [row for row in good if positive(row.get("speedup"))]
    has_speedup = any("speedup" in row for row in rows)
    return Figures(
        labels,
        {name: found[name] for name in KINDS},
        mean_speedup(usable),
        len(good) - len(usable) if has_speedup else 0,
        average(good, "compile_s"),
        average(good, "compression_ratio"),
    )


def mean_speedup(rows: Sequence[Row]) -> Mean | None:
    """Geometric mean of positive speedups; the measurement interval needs an error of every one of them."""
    if not rows:
        return None
    from runner.measure.statistics import geometric_mean  # scipy: only once there is something to compute

    errors = [log_se(row) for row in rows]
    known = [error for error in errors if error is not None]
    mean = geometric_mean([row["speedup"] for row in rows], known if len(known) == len(rows) else [0.0])
    return Mean(
        mean.center,
        mean.measurement if len(known) == len(rows) else None,
        mean.suite if math.isfinite(mean.suite[0]) else None,
        mean.n,
        len(rows) - len(known),
    )


def average(rows: Sequence[Row], name: str) -> tuple[float, int] | None:
    """Arithmetic mean of a column, as the dashboard has it, and over how many rows."""
    values = [row[name] for row in rows if positive(row.get(name))]
    return (fmean(values), len(values)) if values else None


def normalised(message: str) -> str:
    """A message without what differs from model to model: addresses, shapes, numbers."""
    for pattern, word in VARYING:
        message = pattern.sub(word, message)
    return message


def buckets(rows: Iterable[Row]) -> list[Bucket]:
    """Failed, unsupported and skipped rows by what they say, failures and the largest first."""
    found: dict[tuple[str, ...], Bucket] = {}
    for place, row in enumerate(rows):
        if kind(row) in ("ok", "unconverged", MISSING):
            continue
        words = [str(row.get(key) or "") for key in ("status", "phase", "error_type")]
        key = (*words, normalised(str(row.get("error") or "")))
        bucket = found.setdefault(key, Bucket(key, row))
        bucket.names.append(str(row["name"]))
        bucket.places.append(place)
    return sorted(found.values(), key=lambda bucket: (not is_failure(bucket.example), -len(bucket.names)))


def flags(rows: Iterable[Row]) -> dict[str, list[str]]:
    """The models of each flag, the most frequent flag first."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for word in filter(None, str(row.get("flags") or "").split(";")):
            found.setdefault(word, []).append(str(row["name"]))
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))
