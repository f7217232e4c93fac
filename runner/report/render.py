"""Text blocks for a terminal and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TextIO

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from runner.report.blocks import Block, Heading, Lines, Sentence, Table
from runner.report.console import make_console, print_line, print_whole, status_style

#: What Markdown (or the HTML in it) could take for itself.
MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&!])")
#: A mention or a link to an issue of whoever's repository the text is pasted into.
MENTION = re.compile(r"@(?=\w)")


def print_blocks(blocks: Iterable[Block], stream: TextIO) -> None:
    """Print to a terminal, or to a file as plain text."""
    console = make_console(stream)
    for block in blocks:
        if isinstance(block, Table):
            print_whole(console, rich_table(block))
        elif isinstance(block, Sentence):
            print_line(console, block.text)
        elif isinstance(block, Lines):
            print_line(console, "\n".join(block.lines))
        else:
            print_line(console, "")
            print_line(console, Text(block.text, style="bold underline" if block.level == 1 else "bold"))


def rich_table(table: Table) -> RichTable:
    """The table for rich. Nothing is cut; on a narrow terminal text folds."""
    made = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for i, head in enumerate(table.heads):
        made.add_column(Text(head), justify="right" if i in table.right else "left", overflow="fold")
    status = table.heads.index("status") if "status" in table.heads else -1
    for row in table.rows:
        style = status_style(row[status].split(" ")[0]) if status >= 0 else ""
        made.add_row(*(Text(cell, style=style if i == status else "") for i, cell in enumerate(row)))
    return made


def markdown(blocks: Iterable[Block]) -> str:
    """Markdown, fit for a comment on a pull request: whatever a result says stays text."""
    return "\n".join(line for block in blocks for line in markdown_lines(block))


def markdown_lines(block: Block) -> Iterator[str]:
    """The lines of one block, with an empty one behind."""
    if isinstance(block, Heading):
        yield f"{'#' * (block.level + 1)} {escaped(block.text)}"
    elif isinstance(block, Sentence):
        yield escaped(block.text)
    elif isinstance(block, Lines):
        yield from (f"    {line}" for line in block.lines)  # code: what is in it is no markup
    else:
        yield markdown_row(block.heads)
        yield markdown_row("--:" if i in block.right else "---" for i in range(len(block.heads)))
        yield from (markdown_row(map(escaped, row)) for row in block.rows)
    yield ""


def markdown_row(cells: Iterable[str]) -> str:
    """One row of a table."""
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return MENTION.sub("@\u200b", MARKUP.sub(r"\\\1", text))
