"""Writes the tables of docs/results.md from the columns that the code declares: python docs/generate.py."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from experiments.speedup import OWN  # noqa: E402 - the checkout beside this file, wherever the command is started
from runner import registry  # noqa: E402
from runner.results.columns import Column  # noqa: E402
from runner.results.document import SECTIONS, columns_markdown  # noqa: E402
from runner.timing import MEASURED  # noqa: E402

PAGE = ROOT / "docs" / "results.md"
REGION = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def refreshed(page: str) -> str:
    """`page` with the text of each generated region as the code has it now."""
    texts = regions()
    return REGION.sub(lambda found: f"{found[1]}\n{texts[found[2]]}\n{found[3]}", page)


def regions() -> dict[str, str]:
    """Text of each region by its name."""
    own: Mapping[str, tuple[Column, ...]] = {"Measuring": MEASURED, "Backend and baseline": OWN}
    return {
        "common": columns_markdown(SECTIONS, level=3),
        "speedup": columns_markdown(own, level=3),
        "selftest": columns_markdown({"Certificate": declared("selftest")[0]}, level=3),
        "accuracy": columns_markdown({"Verdict": declared("accuracy")[0]}, level=3),
        "tolerance": columns_markdown({"Distances": declared("tolerance")[0]}, level=3),
        "tensors": columns_markdown({f"`{name}.csv`": c for name, c in declared("accuracy")[1].items()}, level=3),
        "tables": columns_markdown({f"`{name}.csv`": c for name, c in declared("speedup")[1].items()}, level=3),
    }


def declared(experiment: str) -> tuple[tuple[Column, ...], Mapping[str, tuple[Column, ...]]]:
    """Columns and long tables of an experiment."""
    path = registry.target("experiment", experiment)
    assert path is not None
    cls = registry.locate(path)
    return cls.columns, cls.tables  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
