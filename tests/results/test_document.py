"""Columns as Markdown."""

from __future__ import annotations

from runner.results.columns import COMMON, Column
from runner.results.document import SECTIONS, columns_markdown


def test_every_common_column_is_in_a_section() -> None:
    """The sections hold all common columns in their order."""
    assert [column for columns in SECTIONS.values() for column in columns] == list(COMMON)


def test_markdown() -> None:
    """A heading, a table's head and a line per column; a bar in a meaning doesn't end the table's cell."""
    assert columns_markdown({"Own": [Column("x_ms", float, "ms", "a|b")]}, level=3) == (
        "### Own\n\n| column | type | unit | meaning |\n|---|---|---|---|\n| `x_ms` | float | ms | a\\|b |\n"
    )
