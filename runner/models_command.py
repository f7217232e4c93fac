"""`python -m runner models suite=NAME ['GLOB']`: a suite's models, their batch sizes, and what they miss here.

Answers without torch; `--params` counts parameters in a process of its own.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from runner import catalog, recorded, registry
from runner.cells import Selection
from runner.config import declared
from runner.errors import UsageError

COLUMNS = ("name", "source", "batch_size_inference", "batch_size_training", "parameters", "available", "why")
EPILOG = """The words are as in a run: suite=timm 'res*net*', suite.size=small. Without a pattern: the models that
model=all means. The parameters are the recorded ones where there are such; --params counts them on torch's meta
device. A model is available if its packages are installed; a run may still find that it needs more memory or data."""


@dataclass(frozen=True)
class Asked:
    """The suite's node with `_target_`, and which of its models."""

    suite: str
    node: Mapping[str, Any]
    pattern: str


def main(argv: Sequence[str]) -> int:
    """List the models; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m runner models", description="List the models of a suite.", epilog=EPILOG
    )
    parser.add_argument("words", nargs="*", metavar="suite=NAME 'GLOB'", help="the suite, its fields, and a pattern")
    parser.add_argument("--config-dir", metavar="DIR", help="folder with configurations of your own")
    parser.add_argument("--params", action="store_true", help="count the parameters, also of models that are recorded")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a list of objects")
    form.add_argument("--csv", action="store_true", help="print a CSV")
    given = parser.parse_intermixed_args(argv)
    try:
        asked = _asked(given.words, given.config_dir)
        rows = list_models(asked, given.config_dir, count=given.params)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        _print(rows, "json" if given.json else "csv" if given.csv else "table", sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` for example, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _asked(words: Sequence[str], config_dir: str | None) -> Asked:
    from runner.arguments import suite_and_fields

    patterns = [word for word in words if "=" not in word]
    if len(patterns) > 1:
        raise UsageError(f"give one pattern, not {len(patterns)}: {' '.join(patterns)}")
    suite, fields = suite_and_fields([word for word in words if "=" in word])
    files = [folder / "suite" / f"{suite}.yaml" for folder in catalog.config_folders(config_dir)]
    found = next((path for path in files if path.is_file()), None)
    if found is None:
        known = {path.stem for file in files for path in file.parent.glob("*.yaml")}
        raise UsageError(registry.unknown("suite", suite, known))
    return Asked(suite, {**declared(found), **fields}, patterns[0] if patterns else "all")


def list_models(asked: Asked, config_dir: str | None, *, count: bool) -> list[dict[str, Any]]:
    """A row per model, with the keys `COLUMNS`; a UsageError when there is none."""
    loader = registry.build(asked.node)
    known = list(loader.names())
    entries = catalog.models_file(asked.suite, catalog.config_folders(config_dir))
    names = Selection(asked.pattern).models(catalog.listed(loader, entries, known), known)
    strange = [name for name in names if name not in known]
    if strange or not names:
        raise UsageError(registry.unknown(f"model of suite {asked.suite}", asked.pattern, known))
    counts = _counted(asked.node, names) if count else recorded.parameters(asked.suite)
    return [_row(loader, name, entries.get(name, {}), counts.get(name)) for name in names]


def _counted(node: Mapping[str, Any], names: Sequence[str]) -> dict[str, int | None]:
    from runner.parameter_counts import count

    found = list(count(node, names))
    for one in (one for one in found if one.parameters is None):
        print(f"{one.name}: {one.why}", file=sys.stderr)
    return {one.name: one.parameters for one in found}


def _row(loader: Any, name: str, policy: Mapping[str, Any], parameters: int | None) -> dict[str, Any]:
    from runner.loaders import Facts

    facts = loader.facts(name) if hasattr(loader, "facts") else Facts()
    why = facts.missing or policy.get("skip") or ""
    sizes = {key: policy.get(key, getattr(facts, key)) for key in ("batch_size_inference", "batch_size_training")}
    divided = {key: size and max(1, size // policy.get("batch_divisor", 1)) for key, size in sizes.items()}
    return {"name": name, "source": facts.source, **divided, "parameters": parameters, "available": not why, "why": why}


def _print(rows: Sequence[Mapping[str, Any]], form: str, stream: TextIO) -> None:
    if form == "json":
        json.dump(rows, stream, indent=1)
        stream.write("\n")
    elif form == "csv":
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "available": str(row["available"]).lower()} for row in rows)
    else:
        _print_table(rows, stream)


def _print_table(rows: Sequence[Mapping[str, Any]], stream: TextIO) -> None:
    from rich.table import Table

    from runner.report.console import make_console, plain, print_line, print_whole

    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="right" if name.startswith(("batch", "param")) else "left")
    for row in rows:
        shown = {**row, "available": "yes" if row["available"] else "no"}
        table.add_row(*(plain("" if shown[name] is None else shown[name]) for name in COLUMNS))
    console = make_console(stream)
    print_whole(console, table)
    available = sum(row["available"] for row in rows)
    print_line(console, f"{len(rows)} model{'s' if len(rows) > 1 else ''}, {available} available here")
