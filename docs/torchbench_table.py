"""Writes the table of docs/torchbench_checkout.md: python docs/torchbench_table.py CHECKOUT RUN...

RUN are directories of runs over the checkout's models, the latest last; a model that ran in one of them has run.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from runner.loaders.checkout.directory import Checkout  # noqa: E402 - of the checkout beside this file

PAGE = ROOT / "docs" / "torchbench_checkout.md"
REGION = re.compile(r"(<!-- generated -->\n).*?(<!-- end -->)", re.DOTALL)

Row = Mapping[str, str]


def main(checkout: str, *runs: str) -> None:
    """Rewrite the page."""
    clone = Checkout(Path(checkout).absolute())
    text = table(clone.core(), best(rows([Path(run) for run in runs])), (clone.commit() or "unknown")[:12])
    PAGE.write_text(REGION.sub(lambda found: f"{found[1]}{text}{found[2]}", PAGE.read_text("utf-8")), "utf-8")


def rows(runs: Sequence[Path]) -> Iterator[Row]:
    """All rows of the runs' tables with one row per cell."""
    for run in runs:
        for path in sorted(run.glob("*.csv")):
            with path.open(encoding="utf-8", newline="") as lines:
                found = list(csv.DictReader(lines))
            yield from (row for row in found if row.get("status") and row.get("source") != "builtin")


def best(found: Iterator[Row]) -> dict[str, Row]:
    """The last row of each model, or the last that is ok."""
    chosen: dict[str, Row] = {}
    for row in found:
        if row["status"] == "ok" or chosen.get(row["name"], row)["status"] != "ok":
            chosen[row["name"]] = row
    return chosen


def table(names: Sequence[str], chosen: Mapping[str, Row], commit: str) -> str:
    """Markdown: what came of every model, and how many ran."""
    ran = sum(chosen.get(name, {}).get("status") == "ok" for name in names)
    today = datetime.now(tz=UTC).date()
    head = f"{ran} of {len(names)} core models ran; commit `{commit}`, {today}.\n\n"
    lines = ["| model | outcome | batch size | weights | why |", "|---|---|---|---|---|"]
    return head + "\n".join([*lines, *(_line(name, chosen.get(name)) for name in names)]) + "\n"


def _line(name: str, row: Row | None) -> str:
    if row is None:
        return f"| {name} | not run | | | |"
    random = "random for pretrained" if "random_weights" in row.get("flags", "") else ""
    weights = (random or "its own") if row["status"] == "ok" else ""
    why = row.get("error", "").replace("|", "\\|")
    return f"| {name} | {row['status']} | {row.get('batch_size', '')} | {weights} | {why} |"


if __name__ == "__main__":
    main(*sys.argv[1:])
