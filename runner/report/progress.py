"""What is seen while a run is on: one live line on a terminal, a line per finished cell everywhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from types import TracebackType
from typing import Self, TextIO

from rich.live import Live
from rich.text import Text

from runner.report.console import failure_text, make_console, plain, print_line, status_style, value_text
from runner.results.columns import Column, Row, Status

#: The live line is drawn at most this often: the machine that draws it is the one being measured.
REDRAW_S = 1.0
#: Characters of an error in a line of progress; the summary at the end has all of it.
LONGEST_ERROR = 160
#: From this many seconds time is given in minutes, from as many minutes in hours.
LONG = 100


class Progress:
    """Shows which of `total` cells is running, its phase, the time it has taken and the time that is left.

    `shown` are the columns of a finished row to name. With `live` off there are lines only, for one of several that
    share a terminal. There is no thread that draws: whoever waits for a cell calls
    `tick` while waiting, as often as it likes.
    """

    def __init__(
        self,
        total: int,
        stream: TextIO | None = None,
        shown: Sequence[Column] = (),
        clock: Callable[[], float] = time.monotonic,
        *,
        live: bool = True,
    ) -> None:
        self.total = total
        self.shown = tuple(shown)
        self.console = make_console(stream or sys.stderr, terminal=None if live else False)
        self._clock = clock
        self._began = clock()
        self._started: float | None = None
        self._drawn = -REDRAW_S
        self._name = self._doing = ""
        self._done = 0
        self._durations: list[float] = []
        self._live = Live(console=self.console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def start(self, name: str) -> None:
        """The cell of model `name` begins."""
        self._name, self._doing, self._started = plain(name), "", self._clock()
        self._draw()

    def phase(self, name: str) -> None:
        """The running cell enters a phase."""
        self._doing = plain(name)
        self._draw()

    def waiting(self, text: str) -> None:
        """The running cell waits, for a device that another run is using; said once on a plain stream."""
        words = plain(text)
        if words != self._doing and not self.console.is_terminal:
            print_line(self.console, f"{self._place(self._done + 1)} {self._name} {words}")
        self._doing = words
        self._draw()

    def say(self, sentence: str) -> None:
        """Something that is no cell's row."""
        print_line(self.console, plain(sentence))

    def defer(self, row: Row) -> None:
        """The running cell is put off until the others are done; `row` is what is known so far."""
        self._say(self._done + 1, row, "measured again at the end")

    def finish(self, row: Row) -> None:
        """A cell has its final row; one that was never started took no time."""
        self._done += 1
        elapsed = None if self._started is None else self._clock() - self._started
        self._started = None
        self._durations += [] if elapsed is None else [elapsed]
        self._say(self._done, row, "" if elapsed is None else f"{elapsed:.1f} s")
        self._name = self._doing = ""
        self._draw()

    def tick(self) -> None:
        """Let the elapsed time move on."""
        if self._clock() - self._drawn >= REDRAW_S:
            self._draw()

    def line(self) -> str:
        """The live line: `[4/20] resnet18 compile 12 s, 3 min left`."""
        elapsed = self._clock() - (self._began if self._started is None else self._started)
        words = [self._place(min(self._done + 1, self.total)), self._name, self._doing, duration(elapsed)]
        left = self.left_s()
        return " ".join(w for w in words if w) + (f", {duration(left)} left" if left is not None else "")

    def left_s(self) -> float | None:
        """Seconds until all cells are done, if those to come take as long as the median of the finished ones."""
        if not self._durations:
            return None
        spent = 0.0 if self._started is None else self._clock() - self._started
        each = median(self._durations)
        return max(0.0, each - spent) + each * max(0, self.total - self._done - 1)

    def _place(self, n: int) -> str:
        return f"[{n}/{self.total}]"

    def _say(self, n: int, row: Row, end: str) -> None:
        harmless = row["status"] == Status.OK
        words = plain(row["status"]) if harmless else shorten(failure_text(row), LONGEST_ERROR)
        outcome = Text(words, style=status_style(row["status"]))
        values = [f"{c.name} {text}" for c in self.shown if (text := value_text(row, c))] if harmless else []
        after = "".join(f" {word}" for word in (*values, end) if word)
        print_line(self.console, f"{self._place(n)} {plain(row.get('name') or self._name)} ", outcome, after)

    def _draw(self) -> None:
        self._drawn = self._clock()
        if self.console.is_terminal:
            self._live.update(Text(self.line(), no_wrap=True, overflow="ellipsis"), refresh=True)


def shorten(text: str, longest: int) -> str:
    """`text`, cut where it is too long."""
    return text if len(text) <= longest else f"{text[:longest]}..."


def duration(seconds: float) -> str:
    """Time for human eyes: `12 s`, `3 min`, `2 h 05 min`."""
    if seconds < LONG:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < LONG else f"{minutes // 60} h {minutes % 60:02d} min"
