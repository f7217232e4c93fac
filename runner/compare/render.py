"""A comparison as text: for a terminal, for a pull request (Markdown), as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any, TextIO

from runner.cells import SUBJECT
from runner.compare.judge import Comparison, Finding, Means, Verdict, means
from runner.compare.likeness import Differences
from runner.report.console import number
from runner.report.labels import tells_apart
from runner.report.terminal import differing
from runner.results.text import finite, printable

#: Verdicts that a reader wants to see at once; the others are folded away in Markdown.
NOTABLE = (Verdict.REGRESSED, Verdict.STATUS_CHANGED, Verdict.MISSING, Verdict.IMPROVED)
ORDER = {verdict: place for place, verdict in enumerate(Verdict)}
#: GitHub takes comments of 65 536 characters.
MAX_COMMENT = 60_000
MAX_DIFFERENCES = 20
MAX_NAMES = 10
#: Further columns of the subject; shown where rows of one name differ in them.
FURTHER = ("experiment", "batch_size")
COLUMNS = ("verdict", "base", "new", "change", "interval_95", "mde", "note")
UNITS = {"latency": "ms", "mean": "s"}
MARKS = {Verdict.REGRESSED: "🔴 ", Verdict.IMPROVED: "🟢 ", Verdict.STATUS_CHANGED: "🟠 ", Verdict.MISSING: "🟠 "}
NO_INTERVAL = "no interval is known for {n} of these cells, so nothing is flagged there; --margin-alone flags noise too"
MARGIN_ALONE = (
    "no interval is known for {n} of these cells: they are judged by the margin alone, which calls noise a change"
)
NO_MEAN_INTERVAL = (
    "means have one with measure.processes=3 and samples on both sides, --metric speedup with one process"
)


def ordered(comparison: Comparison) -> list[Finding]:
    """The most urgent first, otherwise in catalogue order."""
    return sorted(comparison.findings, key=lambda finding: ORDER[finding.verdict])


def counts(comparison: Comparison) -> str:
    """`1 regressed, 3 unchanged`."""
    return ", ".join(f"{n} {verdict.value}" for verdict in Verdict if (n := comparison.count(verdict)))


def percent(value: float | None, signed: bool = True) -> str:
    """A relative number in percent; empty for None."""
    return "" if value is None else f"{100 * value:{'+' if signed else ''}.1f} %"


def limits(interval: tuple[float, float] | None) -> str:
    """Both ends of an interval in percent; empty where there is none."""
    if interval is None or not math.isfinite(interval[0]):
        return ""
    return f"[{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"


def values(finding: Finding, metric: str) -> dict[str, str]:
    """Texts of COLUMNS."""
    return {
        "verdict": finding.verdict.value,
        "base": quantity(finding.old, metric),
        "new": quantity(finding.new, metric),
        "change": percent(finding.change),
        "interval_95": limits(finding.limits),
        "mde": percent(finding.mde, signed=False),
        "note": printable(finding.note),
    }


def quantity(value: float | None, metric: str) -> str:
    """A speedup as it is; of a speed, the time that it stands for."""
    if value is None:
        return ""
    if metric.startswith("speedup"):
        return number(value) + "x"
    return f"{number(1 / value)} {UNITS.get(metric, '')}".rstrip()


def label_keys(findings: Sequence[Finding]) -> list[str]:
    """Columns and keys that tell the cells apart, beside the name."""
    distinct = [key for finding in findings for key in finding.pair.distinct]
    rows = [finding.pair.either.row for finding in findings]
    return list(dict.fromkeys([*differing(rows), *distinct, *(key for key in FURTHER if tells_apart(rows, key))]))


def labels(finding: Finding, keys: Sequence[str]) -> list[str]:
    """Name and values of `keys`."""
    pair = finding.pair
    told = [pair.distinct.get(key) or pair.either.row.get(key) for key in keys]
    return [printable(pair.either.name), *("" if value is None else printable(str(value)) for value in told)]


def conclusions(comparison: Comparison) -> list[str]:
    """Sentences below the table."""
    found = [f"{comparison.metric}: {counts(comparison)}", *comparison.notes]
    average = means(comparison)
    if average:
        found.append(means_text(average, comparison.metric))
    if comparison.without_interval:
        text = MARGIN_ALONE if comparison.settings.margin_alone else NO_INTERVAL
        found.append(text.format(n=comparison.without_interval))
        found += [NO_MEAN_INTERVAL] if comparison.metric == "mean" else []
    if comparison.candidates and not comparison.remeasured:
        names = sorted({finding.pair.either.name for finding in comparison.candidates})
        few = ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
        found.append(f"{len(comparison.candidates)} may have changed ({few}): --remeasure measures them again")
    return found


def means_text(average: Means, metric: str) -> str:
    """Geometric mean on both sides, its change with both intervals, and what is not in it."""
    change = average.change
    out = ", ".join(f"{n} {why}" for why, n in average.left_out.items() if n)
    if change is None:
        return f"no geometric mean: no cell on both sides is fit for it (left out: {out})"
    said = f"geometric mean of {change.n}: {quantity(average.old, metric)} -> {quantity(average.new, metric)}, "
    said += f"change {percent(change.center - 1)}"
    for name, (lo, hi) in (("measurement", change.measurement), ("suite", change.suite)):
        if math.isfinite(lo):
            said += f", 95 % {name} interval {limits((lo - 1, hi - 1))}"
    return said + (f"; left out: {out}" if out else "")


def to_terminal(comparison: Comparison, unlike: Differences, stream: TextIO) -> None:
    """Marks, table, conclusions, and what could explain a change."""
    from rich import box
    from rich.table import Table

    from runner.report.console import make_console, print_line, print_whole

    console = make_console(stream)
    for sentence in (*unlike.refused, *unlike.marked):
        print_line(console, f"unlike: {printable(sentence)}")
    findings = ordered(comparison)
    keys = label_keys(findings)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in ("model", *keys, *COLUMNS):
        table.add_column(title.replace("_95", " 95 %"), overflow="fold")
    for finding in findings:
        table.add_row(*labels(finding, keys), *values(finding, comparison.metric).values())
    print_whole(console, table)
    for sentence in conclusions(comparison):
        print_line(console, printable(sentence))
    for title, sentences in explanations(unlike):
        for sentence in sentences:
            print_line(console, f"{title}: {printable(sentence)}")


def explanations(unlike: Differences) -> list[tuple[str, list[str]]]:
    """Differences that could explain a change, no more of each kind than a reader takes in."""
    found = []
    for title, sentences in (("configuration", unlike.config), ("environment", unlike.environment)):
        more = len(sentences) - MAX_DIFFERENCES
        shown = [*sentences[:MAX_DIFFERENCES], *([f"... and {more} more (--format json)"] if more > 0 else [])]
        found.append((title, [shorter(sentence) for sentence in shown]))
    return found


def shorter(text: str, longest: int = 200) -> str:
    """`text`, cut where it is too long for one line of a report."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def to_markdown(comparison: Comparison, unlike: Differences, base: str, new: str) -> str:
    """For a comment: what is notable, the rest folded away; never longer than a comment may be."""
    notable = [finding for finding in ordered(comparison) if finding.verdict in NOTABLE]
    quiet = [finding for finding in ordered(comparison) if finding.verdict not in NOTABLE]
    keys = label_keys(comparison.findings)
    head = [f"### {comparison.metric}: {counts(comparison)}", "", f"`{_code(base)}` → `{_code(new)}`", ""]
    marks = [f"> ⚠️ unlike: {escaped(sentence)}" for sentence in (*unlike.refused, *unlike.marked)]
    head += [*marks, ""] if marks else []
    tail = ["", *(f"- {escaped(sentence)}" for sentence in conclusions(comparison)[1:]), ""]
    reasons = [f"- {title}: {escaped(text)}" for title, texts in explanations(unlike) for text in texts]
    tail += _folded("What could explain a change", reasons) if reasons else []
    room = MAX_COMMENT - sum(len(line) + 1 for line in (*head, *tail))
    table = _table(notable, keys, comparison.metric, room) if notable else []
    room -= sum(len(line) + 1 for line in table)
    folded = _folded(f"{len(quiet)} other cells", _table(quiet, keys, comparison.metric, room)) if quiet else []
    return "\n".join([*head, *table, *folded, *tail]).rstrip() + "\n"


def _table(findings: Sequence[Finding], keys: Sequence[str], metric: str, room: int) -> list[str]:
    titles = ("model", *keys, "verdict", "base", "new", "change [95 %]", "MDE", "note")
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    used = sum(map(len, lines)) + 100
    for place, finding in enumerate(findings):
        line = _line(finding, keys, metric)
        used += len(line) + 1
        if used > room:
            return [*lines, "", f"... and {len(findings) - place} more: the comment would be too long"]
        lines.append(line)
    return lines


def _line(finding: Finding, keys: Sequence[str], metric: str) -> str:
    text = values(finding, metric)
    name, *told = labels(finding, keys)
    change = f"{text['change']} {text['interval_95']}".strip()
    fields = [*map(escaped, told), f"{MARKS.get(finding.verdict, '')}{text['verdict']}", text["base"], text["new"]]
    return "| " + " | ".join([f"`{_code(name)}`", *fields, change, text["mde"], escaped(shorter(text["note"]))]) + " |"


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"<details><summary>{title}</summary>", "", *lines, "", "</details>"]


def escaped(text: str) -> str:
    """Text of a result in Markdown: no markup, no table, and nobody is notified."""
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace("@", "@\u200b").replace("#", "#\u200b")
    return "".join(f"\\{c}" if c in "\\`*_[]|~" else c for c in text)


def _code(text: str) -> str:
    """Text within backticks in a table."""
    return printable(text).replace("`", "'").replace("|", "\\|")


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Plain data of every finding, numbers as numbers; nothing that isn't a JSON number among them."""
    found = []
    for finding in ordered(comparison):
        pair, interval = finding.pair, finding.limits or (None, None)
        subject = {key: pair.either.row.get(key) for key in SUBJECT}
        ids = {f"{side}_cell_id": entry.row.get("cell_id") if entry else None for side, entry in _sides(finding)}
        states = {f"{side}_status": entry.status if entry else None for side, entry in _sides(finding)}
        facts = {
            "verdict": finding.verdict.value,
            "base": finding.old,
            "new": finding.new,
            "change": finding.change,
            "change_lo": interval[0],
            "change_hi": interval[1],
            "p_adjusted": finding.p,
            "mde80": finding.mde,
            "note": finding.note,
        }
        found.append({**subject, **pair.distinct, **states, **ids, **{k: finite(v) for k, v in facts.items()}})
    return found


def _sides(finding: Finding) -> list[tuple[str, Any]]:
    return [("base", finding.pair.base), ("new", finding.pair.new)]


def to_csv(comparison: Comparison) -> str:
    """A line for each finding."""
    found = rows(comparison)
    buffer = io.StringIO()
    names = list(dict.fromkeys(key for row in found for key in row))
    writer = csv.DictWriter(buffer, names, "", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: printable(v) if isinstance(v, str) else v for k, v in row.items()} for row in found)
    return buffer.getvalue()


def to_json(comparison: Comparison, unlike: Differences) -> str:
    """Everything."""
    average = means(comparison)
    facts: dict[str, Any] = {
        "metric": comparison.metric,
        "exit_code": comparison.exit_code,
        "margin": comparison.settings.margin,
        "adjust": comparison.settings.adjust,
        "between_sd": comparison.between_sd,
        "counts": {verdict.value: comparison.count(verdict) for verdict in Verdict},
        "without_interval": comparison.without_interval,
        "notes": comparison.notes,
        "unlike": [*unlike.refused, *unlike.marked],
        "configuration": unlike.config,
        "environment": unlike.environment,
        "cells": rows(comparison),
    }
    if average and average.change:
        facts["geometric_mean"] = {
            "cells": average.change.n,
            "base": average.old,
            "new": average.new,
            "change": average.change.center - 1,
            "measurement_interval": [finite(end - 1) for end in average.change.measurement],
            "suite_interval": [finite(end - 1) for end in average.change.suite],
            "left_out": {why: n for why, n in average.left_out.items() if n},
        }
    return json.dumps(facts, indent=1)
