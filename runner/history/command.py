"""`python -m runner history add|show|plot|detect`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import UsageError

if TYPE_CHECKING:
    from runner.history.store import Series, Store

DEFAULT = "history.sqlite"


def main(argv: Sequence[str]) -> int:
    """Add to a history or ask it; returns 0, or 2 for bad usage."""
    given = _parser().parse_args(argv)
    from runner.history.database import opened
    from runner.history.store import Store

    action: Callable[[argparse.Namespace, Store], None] = given.action
    try:
        if action is _add:
            given.found = _runs(given.runs)  # a path that isn't there leaves no empty database behind
        create = action is _add
        with opened(given.db, create) as database:
            action(given, Store(database, create))
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe has seen enough
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m runner history", description="Results of many runs over time.")
    actions = parser.add_subparsers(required=True, metavar="add|show|plot|detect")
    add = _action(actions, "add", _add, "add the results of runs; those that are there already are not added twice")
    add.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run or sweep, or one above many")
    show = _action(actions, "show", _show, "the results of a model, a line each")
    show.add_argument("model", help="name or pattern")
    show.add_argument("--last", type=_count, default=20, metavar="N", help="most recent results of each series (20)")
    plot = _action(actions, "plot", _plot, "speedups over time")
    plot.add_argument("model", nargs="?", default="*", help="name or pattern; default: all")
    plot.add_argument("--png", type=Path, metavar="FILE", help="draw a picture (needs matplotlib)")
    detect = _action(actions, "detect", _detect, "where the level of a series changed")
    detect.add_argument("model", nargs="?", default="*", help="name or pattern; default: all")
    detect.add_argument(
        "--margin", type=float, default=3.0, metavar="PCT", help="smallest step that counts, in percent (3)"
    )
    return parser


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    action: Callable[[argparse.Namespace, Store], None],
    text: str,
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=text)
    parser.add_argument(
        "--db", default=DEFAULT, metavar="FILE|URL", help=f"SQLite file or postgresql:// URL ({DEFAULT})"
    )
    parser.set_defaults(action=action)
    return parser


def _count(text: str) -> int:
    """A number of results. Raises ArgumentTypeError for anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of results: give 1 or more")
    return int(text)


def _runs(paths: Sequence[Path]) -> list[object]:
    from runner.results.reader import read_run

    missing = next((path for path in paths if not path.is_dir()), None)
    if missing:
        if missing.exists():
            raise UsageError(f"{missing} is a file: give the folder of its run, such as {missing.parent}")
        raise UsageError(f"{missing}: there is no such folder")
    return [run for path in paths for run in read_run(path).runs]


def _add(given: argparse.Namespace, store: Store) -> None:
    from runner.history.database import shown

    before = store.totals()["results"]
    asked = sum(store.add(run) for run in given.found)
    after = store.totals()
    new = after["results"] - before
    totals = ", ".join(f"{n} {table}" for table, n in after.items())
    print(f"{shown(given.db)}: {new} results added, {asked - new} were there already; it holds {totals}")


def _found(given: argparse.Namespace, store: Store) -> list[Series]:
    from runner.history.database import shown

    series = list(store.series(None if given.model == "*" else given.model))
    if not series:
        raise UsageError(f"the history {shown(given.db)} has no result of {given.model}")
    return series


def _show(given: argparse.Namespace, store: Store) -> None:
    from runner.history.draw import lines

    for series in _found(given, store):
        print(*lines(series, given.last), "", sep="\n")


def _plot(given: argparse.Namespace, store: Store) -> None:
    from runner.history import draw

    series = _found(given, store)
    if given.png:
        draw.picture(series, given.png)
        print(f"{given.png}: {len(series)} series")
        return
    for one in series:
        print(draw.sparkline(one))


def _detect(given: argparse.Namespace, store: Store) -> None:
    from runner.history.draw import step_lines
    from runner.history.steps import MIN_POINTS

    series = _found(given, store)
    long = [one for one in series if len(one.measured) >= MIN_POINTS]
    lines = list(step_lines(long, given.margin / 100))
    print(*lines, sep="\n", end="\n" if lines else "")
    print(
        f"{len(lines)} steps of at least {given.margin:g} % in {len(long)} series; "
        f"{len(series) - len(long)} have fewer than {MIN_POINTS} results and were not searched"
    )
