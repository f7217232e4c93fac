"""Forward and backward times as PyTorch's `benchmarks/fastrnns` prints them with `--print-json oss` and `pep`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TextIO

from runner.errors import UsageError
from runner.report.sources import Part
from runner.results.columns import Row, Status

#: Suffix of the group's name, and of the columns and samples of that direction.
DIRECTIONS = (("", "fwd"), ("-backward", "bwd"))


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
