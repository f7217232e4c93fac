"""`python -m runner report DIR...`: what runs, sweeps and CSV files say, for people and for other programs."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from runner.errors import UsageError

if TYPE_CHECKING:
    from runner.report.sources import Part

FORMATS = ("terminal", "md", "html", "csv", "json", "hud", "oss", "pep", "autograd")
NUM_ROWS = 200


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m runner report",
        description="Pass rate, speedup, compile time and memory per group, then models, failures and flags.",
    )
    made.add_argument("paths", nargs="+", metavar="DIR", help="folder of a run or sweep, or a CSV (dynamobench's too)")
    made.add_argument("--format", choices=FORMATS, default="terminal", help="default: terminal")
    made.add_argument("--output", type=Path, metavar="FILE", help="write there instead of to standard output")
    made.add_argument(
        "--rows", type=number_of_rows, default=NUM_ROWS, metavar="N", help=f"models shown; 0: all, default: {NUM_ROWS}"
    )
    made.add_argument(
        "--rebuild", action="store_true", help="first write the files of the sweep DIR anew from its jobs"
    )
    return made


def number_of_rows(text: str) -> int:
    """A count. Raises ArgumentTypeError for anything else."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows: give 0 (all) or more")
    return int(text)


def main(argv: Sequence[str]) -> int:
    """Write the report; returns 0, or 2 with one sentence for bad input."""
    given = parser().parse_args(argv)
    gc.disable()  # rows by the hundred thousand, none of them in a cycle
    try:
        if given.rebuild:
            rebuild(given.paths)
        report(given)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe has seen enough
        return 0
    finally:
        gc.enable()
    return 0


def rebuild(paths: Sequence[str]) -> None:
    """Write the files of sweeps anew. Raises UsageError where that is not possible."""
    from runner.results.files import rebuild_sweep
    from runner.results.writer import WriteError

    for path in paths:
        try:
            count = rebuild_sweep(Path(path))
        except WriteError as error:
            raise UsageError(str(error)) from error
        print(f"{path}: {count} row{'s' if count != 1 else ''} gathered", file=sys.stderr)


def report(given: argparse.Namespace) -> None:
    """Read, and write in the wanted format."""
    from runner.report.sources import gather

    parts = gather(given.paths)
    with output(given.output) as stream:
        WRITERS[given.format](parts, stream, given.rows)


@contextmanager
def output(path: Path | None) -> Iterator[TextIO]:
    """Where the report goes. Raises UsageError for a file that can't be written."""
    if path is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    try:
        with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
    except OSError as error:
        raise UsageError(f"can't write {path}: {error.strerror}") from error


def _terminal(parts: list[Part], stream: TextIO, num_rows: int) -> None:
    from runner.report.blocks import blocks
    from runner.report.figures import sections
    from runner.report.render import print_blocks

    print_blocks(blocks(sections(parts), num_rows), stream)


def _markdown(parts: list[Part], stream: TextIO, num_rows: int) -> None:
    from runner.report.blocks import blocks
    from runner.report.figures import sections
    from runner.report.render import markdown

    stream.write(markdown(blocks(sections(parts), num_rows)))


def _html(parts: list[Part], stream: TextIO, _num_rows: int) -> None:
    from runner.report.figures import sections
    from runner.report.page import write_page

    write_page(sections(parts), stream)


def _csv(parts: list[Part], stream: TextIO, _num_rows: int) -> None:
    from runner.report.export import write_csv

    write_csv(parts, stream)


def _json(parts: list[Part], stream: TextIO, _num_rows: int) -> None:
    from runner.report.export import write_json
    from runner.report.figures import sections

    write_json(sections(parts), stream)


def _hud(parts: list[Part], stream: TextIO, _num_rows: int) -> None:
    from runner.report.export import write_hud

    write_hud(parts, stream)


def _oss(parts: list[Part], stream: TextIO, _num_rows: int) -> None:
    from runner.report.upstream import write_oss

    write_oss(parts, stream)


def _pep(parts: list[Part], stream: TextIO, _num_rows: int) -> None:
    from runner.report.upstream import write_pep

    write_pep(parts, stream)


def _autograd(parts: list[Part], stream: TextIO, _num_rows: int) -> None:
    from runner.report.upstream import write_autograd

    write_autograd(parts, stream)


WRITERS: dict[str, Callable[[list[Part], TextIO, int], None]] = {
    "terminal": _terminal,
    "md": _markdown,
    "html": _html,
    "csv": _csv,
    "json": _json,
    "hud": _hud,
    "oss": _oss,
    "pep": _pep,
    "autograd": _autograd,
}
