"""Ctrl-C, SIGTERM and a batch system's warning: noted when they come, acted upon where nothing gets lost."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, Self

from runner.experiment import Outcome


class Interrupted(KeyboardInterrupt):
    """The user or the system ended the run. `outcome` is that of the cell that was running, None between cells."""

    def __init__(self, number: int, outcome: Outcome | None = None) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.outcome = outcome

    @property
    def exit_code(self) -> int:
        """130 or 143."""
        return 128 + self.number


class Interrupts:
    """While the context lasts, the first SIGINT or SIGTERM is only noted; the second ends the program at once.

    So is SIGUSR2 where somebody has a handler for it: submitit, whose batch system sends it before the time is up.

    `fileno()` becomes readable with the signal, so that a select loop wakes up. Signals can only be had in the main
    thread: elsewhere nothing is ever noted.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        if threading.current_thread() is threading.main_thread():
            warned = signal.getsignal(signal.SIGUSR2) is not signal.SIG_DFL
            for number in (signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR2] if warned else [])):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        """Readable once a signal came."""
        return self._read

    def check(self) -> None:
        """Raise Interrupted if a signal came."""
        if self.number is not None:
            raise Interrupted(self.number)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.number is not None:
            raise Interrupted(number)
        self.number = number
        os.write(self._write, b"!")
