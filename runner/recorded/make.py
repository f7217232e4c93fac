"""Writes the tables of recorded facts: `python -m runner.recorded.make steps RUN...` and `... parameters SUITE...`."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from runner.errors import UsageError
from runner.recorded import PARAMETERS, STEPS

#: Columns of the tables; the first ones identify a row.
STEP_COLUMNS = ("suite", "name", "dev", "mode", "eager_s", "batch_size", "precision", "device_name")
STEP_KEY = STEP_COLUMNS[:4]
PARAMETER_COLUMNS = ("suite", "name", "parameters")
PARAMETER_KEY = PARAMETER_COLUMNS[:2]


def main(argv: Sequence[str]) -> int:
    """Add to a table; what it holds about other models stays."""
    parser = argparse.ArgumentParser(prog="python -m runner.recorded.make", description=__doc__)
    table = parser.add_subparsers(dest="table", required=True)
    steps = table.add_parser("steps", help="seconds of an eager step, from runs of experiment=speedup")
    steps.add_argument("run", nargs="+", type=Path, help="folder of a run or of a sweep")
    counts = table.add_parser("parameters", help="numbers of parameters, counted on the meta device")
    counts.add_argument("suite", nargs="+", help="name of a suite")
    given = parser.parse_args(argv)
    try:
        if given.table == "steps":
            merge(STEPS, STEP_COLUMNS, STEP_KEY, chain.from_iterable(map(steps_of, given.run)))
        else:
            merge(PARAMETERS, PARAMETER_COLUMNS, PARAMETER_KEY, chain.from_iterable(map(counted, given.suite)))
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def steps_of(run: Path) -> Iterable[dict[str, Any]]:
    """Rows of eager_steps.csv from a run's good rows."""
    from runner.results.reader import read_run

    for row in read_run(run).rows:
        if row["status"] == "ok" and row.get("eager_latency"):
            yield {**{key: row.get(key) for key in STEP_COLUMNS}, "eager_s": f"{row['eager_latency'] / 1e3:.6g}"}


def counted(suite: str) -> Iterable[dict[str, Any]]:
    """Rows of parameters.csv for a suite's listed models; those that can't be counted are named on stderr."""
    from runner.catalog import config_folders, models_file
    from runner.config import default_node
    from runner.parameter_counts import count

    node = default_node("suite", suite)
    for found in count(node, list(models_file(suite, config_folders()))):
        if found.parameters is None:
            print(f"{suite} {found.name}: {found.why}", file=sys.stderr)
        else:
            yield {"suite": suite, "name": found.name, "parameters": found.parameters}


def merge(path: Path, columns: Sequence[str], key: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the table with `rows` in the place of those with the same key, sorted by it."""
    known: dict[tuple[str, ...], Mapping[str, Any]] = {}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            known = {tuple(row[k] for k in key): row for row in csv.DictReader(file)}
    known |= {tuple(str(row[k]) for k in key): row for row in rows}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(known[k] for k in sorted(known))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
