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
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from runner import catalog, policies, recorded, registry
from runner.cells import Selection
from runner.config import declared
from runner.devices import detect
from runner.errors import UsageError
from runner.workload import Mode

if TYPE_CHECKING:
    from runner.loaders import Facts

COLUMNS = ("name", "source", "batch_size_inference", "batch_size_training", "parameters", "available", "why")
EPILOG = """The words are as in a run: suite=timm 'res*net*', suite.size=small, device=cuda (otherwise the detected
one). Without a pattern: the models that model=all means. The parameters are the recorded ones where there are such;
--params counts them on torch's meta device. A model is available if its packages are installed and its policy does not
skip it on the device; a run may still find that it needs more memory or data."""


@dataclass(frozen=True)
class Asked:
    """The suite's node with `_target_`, which of its models, and the device type that their policies are for."""

    suite: str
    node: Mapping[str, Any]
    pattern: str
    device: str


def main(argv: Sequence[str]) -> int:
    """List the models; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m runner models", description="List the models of a suite.", epilog=EPILOG
    )
    parser.add_argument("words", nargs="*", metavar="suite=NAME 'GLOB'", help="suite, its fields, device, pattern")
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
    folders = catalog.config_folders(config_dir)
    device = _device([word for word in words if word.startswith("device=")], folders)
    suite, fields = suite_and_fields([word for word in words if "=" in word and not word.startswith("device=")])
    files = [folder / "suite" / f"{suite}.yaml" for folder in folders]
    found = next((path for path in files if path.is_file()), None)
    if found is None:
        raise UsageError(registry.unknown("suite", suite, _choices("suite", folders)))
    return Asked(suite, {**declared(found), **fields}, patterns[0] if patterns else "all", device)


def _device(words: Sequence[str], folders: Sequence[Path]) -> str:
    """The device type that `device=NAME` means, or the detected one."""
    if len(words) > 1:
        raise UsageError(f"{' '.join(words)}: give device=NAME once")
    name = words[0].partition("=")[2] if words else "auto"
    known = _choices("device", folders)
    if name not in known:
        raise UsageError(registry.unknown("device", name, known))
    return detect.resolve(name)


def _choices(group: str, folders: Sequence[Path]) -> set[str]:
    return {path.stem for folder in folders for path in (folder / group).glob("*.yaml")}


def list_models(asked: Asked, config_dir: str | None, *, count: bool) -> list[dict[str, Any]]:
    """A row per model, with the keys `COLUMNS`; a UsageError when there is none."""
    loader = registry.build(asked.node)
    known = list(loader.names())
    folders = catalog.config_folders(config_dir)
    catalogue = catalog.models_file(asked.suite, folders)
    names = Selection(asked.pattern).models(catalog.listed(loader, catalogue, known), known)
    strange = [name for name in names if name not in known]
    if strange or not names:
        raise UsageError(registry.unknown(f"model of suite {asked.suite}", asked.pattern, known))
    entries = policies.entries_of(asked.suite, catalogue, asked.node.get("policy_file"), known)
    counts = _counted(asked.node, names) if count else recorded.parameters(asked.suite)
    situations = {mode: policies.situation({}, {"mode": mode.value}, asked.device, folders) for mode in Mode}
    return [
        _row(
            loader,
            name,
            {mode: policies.resolve(entries.get(name, ()), {}, at) for mode, at in situations.items()},
            counts.get(name),
        )
        for name in names
    ]


def _counted(node: Mapping[str, Any], names: Sequence[str]) -> dict[str, int | None]:
    from runner.parameter_counts import count

    found = list(count(node, names))
    for one in (one for one in found if one.parameters is None):
        print(f"{one.name}: {one.why}", file=sys.stderr)
    return {one.name: one.parameters for one in found}


def _row(
    loader: Any, name: str, policy: Mapping[Mode, Mapping[str, Any]], parameters: int | None
) -> dict[str, Any]:
    """A model's row; `policy` is what holds in each mode."""
    from runner.loaders import Facts

    facts = loader.facts(name) if hasattr(loader, "facts") else Facts()
    sizes = {f"batch_size_{mode.value}": _batch_size(mode, policy[mode], facts) for mode in Mode}
    skipped = {mode: policy[mode]["skip"] for mode in Mode if policy[mode].get("skip")}
    available = not facts.missing and len(skipped) < len(Mode)
    why = facts.missing or _reason(skipped)
    return {"name": name, "source": facts.source, **sizes, "parameters": parameters, "available": available, "why": why}


def _batch_size(mode: Mode, policy: Mapping[str, Any], facts: Facts) -> int | None:
    key = f"batch_size_{mode.value}"
    size: int | None = policy.get(key, getattr(facts, key))
    return size and max(1, size // policy.get("batch_divisor", 1))


def _reason(skipped: Mapping[Mode, str]) -> str:
    """Why a model is skipped, with the mode where it isn't so in all of them."""
    if set(skipped) == set(Mode) and len(set(skipped.values())) == 1:
        return next(iter(skipped.values()))
    return "; ".join(f"{mode.value}: {reason}" for mode, reason in skipped.items())


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
