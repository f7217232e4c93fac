"""`python -m runner watch RUN|SWEEP`: how far it is, from what lies in its folder and nothing else.

It only reads, so that it can be stopped at any time and started on any machine that sees the folder.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.live import Live
from rich.text import Text

from runner.errors import UsageError
from runner.report.alive import NUM_ERRORS, Job, Progress, look
from runner.report.console import joined, make_console, plain, print_line, short_path
from runner.report.progress import duration
from runner.report.terminal import KINDS

INTERVAL_S = 2.0
SHORTEST_S = 0.1
#: Share of the time that is spent on reading, at most: a large sweep takes a while to read.
BUSY = 0.2
NUM_NAMES = 6


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m runner watch",
        description="Show how far a run or sweep is, also one on another machine. Ends when it has ended.",
    )
    made.add_argument("dir", type=Path, help="folder of a run or of a sweep")
    made.add_argument("--once", action="store_true", help="show it once and end")
    made.add_argument("--interval", type=seconds, default=INTERVAL_S, metavar="S", help=f"default: {INTERVAL_S:g} s")
    return made


def seconds(text: str) -> float:
    """A time of at least a tenth of a second. Raises ArgumentTypeError for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not SHORTEST_S <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds: give {SHORTEST_S} or more")
    return value


def main(argv: Sequence[str]) -> int:
    """Show the progress until the end; returns 0, or 2 with one sentence for bad input."""
    given = parser().parse_args(argv)
    try:
        watch(given.dir, given.once, given.interval)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


def watch(directory: Path, once: bool, interval_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
    """Show the progress again and again; what doesn't go to a terminal gets lines when a cell has ended, not clocks."""
    console = make_console(sys.stdout)
    before: tuple[int, bool] | None = None
    with Live(console=console, auto_refresh=False) as live:
        while True:
            began = time.monotonic()
            progress = look(directory)
            lines = describe(progress, directory)
            if console.is_terminal and not once:
                live.update(Text("\n".join(lines)), refresh=True)
            elif before != (before := (progress.done, progress.open)):
                for line in lines:
                    print_line(console, line)
                sys.stdout.flush()
            if once or not progress.open:
                return
            sleep(max(interval_s, (time.monotonic() - began) / BUSY))


def describe(progress: Progress, directory: Path) -> Iterator[str]:
    """The lines that are shown."""
    counts = Counter[str]()
    for job in progress.jobs:
        counts.update(job.counts)
    words = "".join(f", {counts[kind]} {kind}" for kind in KINDS if counts[kind])
    begun = len(progress.jobs)
    of_all = f" of {progress.asked}" if progress.asked and progress.asked > begun else ""
    jobs = f" in {begun}{of_all} jobs" if of_all or begun != 1 else ""
    yield f"{short_path(directory)}: {progress.done}/{progress.total} cells done{jobs}{words}"
    yield from map(running_line, progress.running)
    if progress.left_s is not None:
        yield f"about {duration(progress.left_s)} left for what has begun"
    if progress.refused:
        yield f"{len(progress.refused)} job{'s' if len(progress.refused) > 1 else ''} refused:"
        yield from (f"  {plain(reason)}" for reason in list(dict.fromkeys(progress.refused))[:NUM_ERRORS])
    if progress.errors:
        yield "last failures:"
        yield from (f"  {line}" for line in progress.errors)
    if not progress.open:
        yield ending(progress, directory)


def running_line(job: Job) -> str:
    """What a job is doing."""
    now = f"{plain(job.current)} (last output {duration(job.quiet_s)} ago)" if job.current else "between cells"
    then = [name for name in job.left if name != job.current]
    more = f" and {len(then) - NUM_NAMES} more" if len(then) > NUM_NAMES else ""
    later = f"; to come: {joined(map(plain, then[:NUM_NAMES]))}{more}" if then else ""
    again = f"; {job.num_waiting} to be measured again" if job.num_waiting else ""
    return f"running: {now}{later}{again}"


def ending(progress: Progress, directory: Path) -> str:
    """How it ended."""
    lost = progress.total - progress.done
    unborn = max(0, (progress.asked or 0) - len(progress.jobs))
    if unborn and not lost:
        return f"stopped with {unborn} job{'s' if unborn > 1 else ''} to do: python -m runner resume {plain(directory)}"
    if lost:
        return f"stopped with {lost} cell{'s' if lost > 1 else ''} to do: python -m runner resume {plain(directory)}"
    return "finished"
