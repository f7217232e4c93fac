"""Prints which backend runs which model, as a Markdown table: python docs/backend_table.py DIR..."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from runner.results.reader import read_run  # noqa: E402 - the checkout beside this file
from runner.results.verdicts import PASS, PASS_WITHIN_EAGER_NOISE  # noqa: E402

PASSED = (PASS, PASS_WITHIN_EAGER_NOISE)


def main(folders: Sequence[str]) -> None:
    """Print the table of the rows in `folders`."""
    rows = [row for folder in folders for row in read_run(Path(folder)).rows]
    print("\n".join(table(rows)))


def table(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lines: a row per model, a column per backend, and how many of the cells that can run there passed."""
    cells = {(str(row["name"]), str(row["backend"])): row for row in rows}
    models, backends = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    lines = [_line("model", backends), "|---" * (len(backends) + 1) + "|"]
    lines += [_line(model, [_word(cells.get((model, backend))) for backend in backends]) for model in models]
    return [*lines, _line("passed", [_rate([row for (_, b), row in cells.items() if b == name]) for name in backends])]


def _line(first: str, cells: Iterable[str]) -> str:
    return "| " + " | ".join([first, *cells]) + " |"


def _word(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    if row["status"] != "ok":
        return str(row["status"])
    return f"{row['speedup']:.3g}x" if row.get("speedup") else str(row["accuracy"])


def _rate(rows: Sequence[Mapping[str, Any]]) -> str:
    able = [row for row in rows if row["status"] not in {"unsupported", "skipped"}]
    return f"{sum(row['accuracy'] in PASSED for row in able)} of {len(able)}"


if __name__ == "__main__":
    main(sys.argv[1:])
