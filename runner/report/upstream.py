"""Results as PyTorch's own benchmarks print them.

`oss` and `pep` of `benchmarks/fastrnns`: forward and backward times. `autograd`: the table of
`benchmarks/functional_autograd_benchmark`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from runner.errors import UsageError
from runner.report.sources import Part
from runner.results.columns import Row, Status
from runner.results.text import finite, printable

#: Suffix of the group's name, and of the columns and samples of that direction.
DIRECTIONS = (("", "fwd"), ("-backward", "bwd"))
MEAN = "mean"
#: What stands before the task's name, by interface; a compiled one bears its backend's name.
INTERFACES = {"functional": "", "func": "functorch "}


def write_oss(parts: Sequence[Part], stream: TextIO) -> None:
    """One object `{group: {runner: mean ms}}`. Raises UsageError where a runner has two means."""
    groups: dict[str, dict[str, float]] = {}
    for _, row, group, key in measured(parts):
        means = groups.setdefault(group, {})
        if row["name"] in means:
            raise UsageError(f"{group} {row['name']} was measured more than once: give the folder of one job")
        means[row["name"]] = row[f"avg_{key}"]
    stream.write(json.dumps(groups) + "\n")


def write_pep(parts: Sequence[Part], stream: TextIO) -> None:
    """A line for each measured time, in ms; the mean where a run kept no samples."""
    for part, row, group, key in measured(parts):
        for value in times_ms(part, row, key):
            line = {"type": "NET", "metric": f"{group}-{row['name']}", "unit": "ms", "value": str(value)}
            stream.write(f"Caffe2Observer {json.dumps(line)}\n")


def measured(parts: Sequence[Part]) -> Iterator[tuple[Part, Row, str, str]]:
    """Every right row with its part, for each direction that it has: name of the group, key of the columns.

    Raises UsageError where no row has times of a forward.
    """
    rows = [(part, row) for part in parts for row in part.rows if row["status"] == Status.OK and row.get("avg_fwd")]
    if not rows:
        raise UsageError("these formats need ok rows with the column avg_fwd: run experiment=forward_backward first")
    for part, row in rows:
        for suffix, key in DIRECTIONS:
            if row.get(f"avg_{key}") is not None:
                yield part, row, f"{row.get('family') or row.get('suite')}{suffix}", key


def times_ms(part: Part, row: Row, key: str) -> list[float]:
    """All measured times of one direction."""
    import numpy as np

    path = part.directory / "samples" / f"{row['cell_id']}.npz"
    if not path.is_file():
        return [row[f"avg_{key}"]]
    with np.load(path) as samples:
        found: list[float] = (samples[f"{key}_tB"] * 1e3).tolist()
    return found


def write_autograd(parts: Sequence[Part], stream: TextIO) -> None:
    """A Markdown table of every right row's mean in s and variance in s^2 (nan for a single sample).

    Raises UsageError where no row has a mean, or a task of a model has two.
    """
    rows = [row for part in parts for row in part.rows if row["status"] == Status.OK and finite(row.get(MEAN))]
    values = ((autograd_subject(row), [repr(row[MEAN]), repr(_variance(row))]) for row in rows)
    stream.writelines(f"{line}\n" for line in autograd_lines(values, ("model", "task", MEAN, "var")))


def _variance(row: Row) -> float:
    var = row.get("var")
    return math.nan if var is None else var


def autograd_subject(row: Row) -> tuple[str, str]:
    """Model and task as upstream names them: `vjp`, `functorch vjp`; `inductor vjp` for what it doesn't have."""
    by = INTERFACES.get(row.get("api") or "", f"{row.get('backend')} ")
    return row["name"], f"{by}{row.get('task') or ''}"


def autograd_lines(rows: Iterable[tuple[tuple[str, str], Sequence[str]]], header: Sequence[str]) -> list[str]:
    """Lines of the Markdown table, models together. Raises UsageError without rows, or with two of one subject."""
    models: dict[str, dict[str, Sequence[str]]] = {}
    for (name, task), values in rows:
        tasks = models.setdefault(name, {})
        if task in tasks:
            raise UsageError(f"{name} {task} was measured more than once: give the folder of one job")
        tasks[task] = values
    if not models:
        raise UsageError("this format needs ok rows with the column mean: run experiment=autograd_functional first")
    lines = [header, ["--"] * len(header)]
    lines += [(_cell(name), _cell(task), *values) for name, tasks in models.items() for task, values in tasks.items()]
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(text: str) -> str:
    """Text of one cell: a name stays readable for programs that split lines at bars."""
    return printable(text).replace("|", "\\|")
