"""Prints columns as Markdown, for the page of the documentation that explains every one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runner.results.columns import CELL, CHECK, KEY, OUTCOME, Column

#: Columns of every experiment's CSV under the headings of the page.
SECTIONS: Mapping[str, Sequence[Column]] = {"Key": KEY, "Cell": CELL, "Outcome": OUTCOME, "Check": CHECK}


def columns_markdown(sections: Mapping[str, Sequence[Column]], level: int = 2) -> str:
    """A heading and a table for each section: name, type, unit and meaning of each of its columns."""
    return "\n".join(section_markdown(title, columns, level) for title, columns in sections.items())


def section_markdown(title: str, columns: Sequence[Column], level: int) -> str:
    """One heading with its table."""
    head = [f"{'#' * level} {title}", "", "| column | type | unit | meaning |", "|---|---|---|---|"]
    return "\n".join([*head, *map(column_markdown, columns), ""])


def column_markdown(column: Column) -> str:
    """The line of one column."""
    meaning = column.meaning.replace("|", "\\|")
    return f"| `{column.name}` | {column.type.__name__} | {column.unit} | {meaning} |"
