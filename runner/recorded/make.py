"""Writes the tables of recorded facts: `python -m runner.recorded.make steps RUN...` and `... parameters SUITE...`."""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from runner.errors import UsageError
from runner.recorded import PARAMETERS, STEPS, read

#: Columns of the tables; the first ones identify a row.
STEP_COLUMNS = ("suite", "name", "dev", "mode", "eager_s", "how", "batch_size", "precision", "device_name")
STEP_KEY = STEP_COLUMNS[:4]
#: Keys by which a command makes a model's step another one: its size, its inputs, or who computes it.
OTHER_STEPS = ("batch_size=", "dynamic=", "parallel=", "policy.", "select.batch_size_file=", "suite.")
#: What the column `how` may say.
MEASURED, FIRST_STEP = "measured", "first_step"
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
            record_steps(chain.from_iterable(map(steps_of, given.run)))
        else:
            merge(PARAMETERS, PARAMETER_COLUMNS, PARAMETER_KEY, chain.from_iterable(map(counted, given.suite)))
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def record_steps(rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows of eager_steps.csv; a first step takes no measured step's place."""
    found = sorted(rows, key=lambda row: row["how"] == MEASURED)  # stable: of the same kind the last one stays
    held = {tuple(row[k] for k in STEP_KEY) for row in read(STEPS) if row["how"] == MEASURED}
    new = [row for row in found if row["how"] == MEASURED or tuple(row[k] for k in STEP_KEY) not in held]
    merge(STEPS, STEP_COLUMNS, STEP_KEY, new)


def steps_of(run: Path) -> Iterable[dict[str, Any]]:
    """Rows of eager_steps.csv from those of a run that came far enough to tell, whatever came of them later.

    Those of a command that made the models' steps others than their suite's own are left out.
    """
    from runner.results.reader import read_run

    for row in read_run(run).rows:
        seconds, how = eager_s(row)
        own = not any(word.startswith(OTHER_STEPS) for word in shlex.split(row.get("command") or ""))
        if own and seconds is not None:
            yield {**{key: row.get(key) for key in STEP_COLUMNS}, "eager_s": f"{seconds:.6g}", "how": how}


def eager_s(row: Mapping[str, Any]) -> tuple[float | None, str]:
    """Seconds of an eager step and how they are known: `measured`, or at the most those of the `first_step`.

    Most models are too slow for a CPU to be measured within a short limit, and it is enough to know that they are
    slow: the phase `eager` is the first step, with what only the first one has to do. One that timed out in it took
    longer still.
    """
    if row.get("eager_latency"):
        return row["eager_latency"] / 1e3, MEASURED
    spent = dict(part.split("=") for part in (row.get("phase_s") or "").split(";") if part)
    whole = "compile" in spent or row["status"] == "timeout"
    return (float(spent["eager"]), FIRST_STEP) if whole and "eager" in spent else (None, "")


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
    known: dict[tuple[str, ...], Mapping[str, Any]] = {tuple(row[k] for k in key): row for row in read(path)}
    known |= {tuple(str(row[k]) for k in key): row for row in rows}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(known[k] for k in sorted(known))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
