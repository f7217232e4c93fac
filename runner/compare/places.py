"""Where and how the runs of one side can be started: the interpreter, the folder and the variables."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from runner.compare.sides import Entry
from runner.errors import UsageError
from runner.results.command import hydra_value, key
from runner.results.run import RunRecord

INTERRUPTED = (130, 143)
#: Exit codes of a run that has written its rows.
RAN = (0, 1)


class Stopped(Exception):  # noqa: N818 - reads as a statement at the raise site
    """A run that was started was interrupted, and so is this program; `code` is its exit code."""

    def __init__(self, code: int) -> None:
        self.code = code


@dataclass(frozen=True)
class Place:
    """`env` is added to this process's variables."""

    python: str
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def run(self, words: Sequence[str], directory: Path) -> None:
        """Run `python -m runner WORDS` with its results in `directory`. Raises UsageError when it refuses, Stopped."""
        command = [self.python, "-m", "runner", *words, f"hydra.run.dir={hydra_value(os.fspath(directory))}"]
        print(f"$ {shlex.join(command)}", file=sys.stderr, flush=True)
        code = waited(command, self.cwd, {**os.environ, **self.env})
        if code in INTERRUPTED:
            raise Stopped(code)
        if code not in RAN or not (directory / RunRecord.FILE).is_file():
            raise UsageError(f"the run ended with exit code {code} and left no results in {directory}")

    def ask(self, words: Sequence[str]) -> str:
        """What `python -m runner WORDS` prints. Raises UsageError with what it says when it refuses."""
        command = [self.python, "-m", "runner", *words]
        done = subprocess.run(
            command, cwd=self.cwd, env={**os.environ, **self.env}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UsageError(done.stderr.strip() or f"{shlex.join(command)} ended with exit code {done.returncode}")
        return done.stdout


def waited(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> int:
    """Run a command to its end and return its exit code.

    SIGINT and SIGTERM go to the command, once, and not to this program: a run writes its rows before it ends, and
    whoever started it has work trees to remove.
    """
    with subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, process_group=0) as child:

        def forward(number: int, _frame: FrameType | None) -> None:
            child.send_signal(number)

        before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def recorded_place(entry: Entry) -> Place:
    """The place that the entry was measured in. Raises UsageError where it is not there any more, or has changed."""
    if entry.run is None or not entry.row.get("command"):
        raise UsageError(f"{entry.name}: nothing is recorded of how to run it")
    python, cwd = str(entry.environment.get("executable") or ""), Path(entry.run.record.cwd)
    if not Path(python).is_file():
        raise UsageError(f"{entry.name}: its interpreter {python} is not on this machine")
    if not cwd.is_dir():
        raise UsageError(f"{entry.name}: the folder {cwd} that it was started in is gone")
    _refuse_other_code(entry, cwd)
    return Place(python, cwd)


def _refuse_other_code(entry: Entry, cwd: Path) -> None:
    """Another commit in the same folder is another program: running it again would measure the wrong one."""
    from runner.environment import git

    before, now = (entry.environment.get("git") or {}).get("project"), git(cwd)
    if before and now and before["commit"] != now["commit"]:
        raise UsageError(
            f"{entry.name}: {cwd} was at commit {before['commit'][:12]} and is at {now['commit'][:12]} now; "
            "compare --git keeps both commits at hand"
        )


def words_of(entry: Entry, changes: Mapping[str, str]) -> list[str]:
    """Arguments of the recorded command that measures this one row, with `changes` to its keys."""
    words = shlex.split(str(entry.row["command"]))
    place = words.index("runner") + 1
    kept = [word for word in words[place:] if key(word) not in changes]
    return [*kept, *(f"{name}={value}" for name, value in changes.items())]
