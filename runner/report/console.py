"""The console that reports print to, and the text of values in it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.text import Text

from runner.results.columns import HARMLESS, Column, Row, Status
from runner.results.text import printable

PIPE_WIDTH = 100
#: Wider than any table: to learn how wide one wants to be.
UNLIMITED = 100_000
#: Powers of ten between which numbers are written without an exponent.
PLAIN_EXPONENTS = (-4, 6)


def make_console(stream: TextIO, terminal: bool | None = None) -> Console:
    """A console on `stream` that takes no text for markup and that no character can bring down.

    `terminal` says whether it is one; None looks.
    """
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    console = Console(file=stream, markup=False, highlight=False, emoji=False, force_terminal=terminal)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


def print_whole(console: Console, renderable: RenderableType) -> None:
    """Print a table; where it doesn't go to a terminal, as wide as it wants to be."""
    if not console.is_terminal:
        wanted = Measurement.get(console, console.options.update(max_width=UNLIMITED), renderable).maximum
        console.width = max(PIPE_WIDTH, wanted)
    console.print(renderable)


def print_line(console: Console, *parts: str | Text) -> None:
    """Print one line that is neither wrapped nor cut by us."""
    console.print(Text.assemble(*parts), soft_wrap=True)


def plain(text: Any) -> str:
    """Text of a result for a terminal, without anything that would steer it."""
    return printable(str(text))


def status_text(row: Row) -> Text:
    """The status, coloured, with the phase in which it came about."""
    words = f"{plain(row['status'])} in {plain(row['phase'])}" if row.get("phase") else plain(row["status"])
    return Text(words, style=status_style(row["status"]))


def status_style(status: str) -> str:
    """Green for ok, dim for what did no harm, red for the rest."""
    if status == Status.OK:
        return "green"
    return "dim" if status in HARMLESS else "red"


def value_text(row: Row, column: Column) -> str:
    """Value of a column with its interval, where the row has `<name>_lo` and `<name>_hi`; empty where there is none."""
    value = row.get(column.name)
    if value is None or value == "":
        return ""
    shown = scalar_text(value) + ("x" if column.unit == "x" else "")
    limits = [row.get(f"{column.name}_{end}") for end in ("lo", "hi")]
    if all(isinstance(limit, float) and math.isfinite(limit) for limit in limits):
        shown += f" [{', '.join(map(scalar_text, limits))}]"
    return shown


def scalar_text(value: Any) -> str:
    """One value: floats with four significant digits, bools as yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else plain(value)


def number(value: float, digits: int = 4) -> str:
    """`value` for human eyes: `digits` significant digits, trailing zeros kept, thousands without an exponent."""
    if not math.isfinite(value) or value == 0:
        return str(value) if value else "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if PLAIN_EXPONENTS[0] <= exponent <= PLAIN_EXPONENTS[1]:
        return f"{value:.{max(0, digits - 1 - exponent)}f}"
    return f"{value:.{digits - 1}e}"


def title_of(column: Column) -> str:
    """Head of a column: its name, and its unit where the name doesn't say it."""
    said = column.unit in ("", "x") or column.name.endswith(f"_{column.unit}")
    return column.name if said else f"{column.name} ({column.unit})"


def failure_text(row: Row) -> str:
    """What went wrong, on one line: `crashed in compile: SIGSEGV: killed by signal 11`."""
    parts = [status_text(row).plain, *(plain(row[key]) for key in ("error_type", "error") if row.get(key))]
    return ": ".join(parts)


def short_path(path: Path) -> str:
    """`path` as seen from the working directory, where it lies in it."""
    here, path = Path.cwd(), path.absolute()
    return plain(path.relative_to(here) if path.is_relative_to(here) else path)


def joined(words: Iterable[str]) -> str:
    """Words in a list with commas."""
    return ", ".join(words)
