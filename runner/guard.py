"""Protects run directories and remembers which one was launched.

A Hydra callback, because `on_run_start` is the one place before Hydra rewrites `.hydra/`. Hydra turns exceptions of
callbacks into warnings, so refusals leave by SystemExit.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from runner.errors import UsageError
from runner.results.run import SWEEP_FILE, RunRecord, record_sweep

#: Directory that this process launched (a run's, or a sweep's), and what its configuration said.
launched: Path | None = None
plan = False
strict = False
#: Worst exit code of a refusal in this process: 2 for bad usage, 1 for a disk that can't be written.
refused = 0
#: Arguments as the user typed them; `runner.launch` sets it.
argv: list[str] = []
REFUSAL_FILE = "refused.txt"


class Guard(Callback):
    """Refuses a used directory unless `resume` is given, and records a sweep's command."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002 - Hydra's signature
        """Before a single run."""
        _enter(Path(config.hydra.run.dir), config, RunRecord.FILE)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002
        """Before a sweep; its command is recorded for `resume`."""
        directory = Path(config.hydra.sweep.dir)
        _enter(directory, config, SWEEP_FILE)
        if not config.plan and not (directory / SWEEP_FILE).exists():
            record_sweep(directory, argv, Path.cwd())


def _enter(directory: Path, config: DictConfig, marker: str) -> None:
    global launched, plan, strict  # noqa: PLW0603 - how a callback tells the program that started Hydra
    launched, plan, strict = directory.absolute(), config.plan, config.strict
    used = (directory / marker).exists()
    if used and config.resume is None:
        leave(
            f"{directory} holds the results of another run: choose another directory, "
            f"or continue it with `python -m runner resume {directory}`"
        )
    if config.resume is not None and not used:
        leave(f"resume={config.resume.name}: {directory} holds no run to continue (no {marker})")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        leave(f"can't create {directory}: {error.strerror}")
    if not os.access(directory, os.W_OK):
        leave(f"can't write to {directory}: choose another one with hydra.run.dir=...")


def refuse(directory: Path, error: Exception) -> None:
    """Say why a run can't be done; in a sweep, its other jobs go on.

    The reason is left in the job's folder too: the job may run on another machine.
    """
    global refused  # noqa: PLW0603
    refused = max(refused, 2 if isinstance(error, UsageError) else 1)
    print(error, file=sys.stderr)
    with contextlib.suppress(OSError):  # the reason may be that nothing can be written there
        (directory / REFUSAL_FILE).write_text(f"{error}\n", encoding="utf-8")


def code_without_runs(directory: Path) -> int:
    """Exit code of a launch that left no run: 2 where a job was refused or there was no job, 1 where jobs vanished."""
    jobs = [folder for folder in directory.glob("**/.hydra") if folder.is_dir()]
    if not jobs:
        print("No job was started: the sweep is empty (a glob that matches nothing?)", file=sys.stderr)
        return 2
    return refused or (2 if list(directory.glob(f"**/{REFUSAL_FILE}")) else 1)


def leave(message: str) -> None:
    """End the program for bad usage."""
    print(message, file=sys.stderr)
    raise SystemExit(2)
