"""Protects run directories and remembers which one was launched.

A Hydra callback, because `on_run_start` is the one place before Hydra rewrites `.hydra/`. Hydra turns exceptions of
callbacks into warnings, so refusals leave by SystemExit.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn, cast

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from runner import launchers
from runner.errors import UsageError
from runner.results.files import rebuild_sweep
from runner.results.reader import run_folders
from runner.results.run import (
    CLAIM_FILE,
    REFUSAL_FILE,
    SWEEP_FILE,
    RunRecord,
    SweepRecord,
    claimed,
    record_sweep,
)
from runner.results.writer import WriteError

#: Directory that this process launched (a run's, or a sweep's), and what its configuration said.
launched: Path | None = None
plan = False
strict = False
#: Topmost folder that this process created for it.
made: Path | None = None
#: Worst exit code of a refusal in this process: 2 for bad usage, 1 for a disk that can't be written or a defect.
refused = 0
#: Arguments as the user typed them; `runner.launch` sets it.
argv: list[str] = []
#: Whether a launcher runs the jobs of the sweep in other processes.
elsewhere = False
#: What this process holds until it ends: the sweep's folder.
held = contextlib.ExitStack()


class Guard(Callback):
    """Refuses a used directory unless `resume` is given, and records a sweep's command."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002 - Hydra's signature
        """Before a single run."""
        _enter(Path(config.hydra.run.dir), config, RunRecord.FILE)

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """After a job: Hydra keeps what it returned to the end of the sweep, its whole configuration included."""
        job_return.cfg = job_return.hydra_cfg = job_return.overrides = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002
        """Before a sweep; its command is recorded for `resume`, and a resumed one's files are put in order."""
        directory = Path(config.hydra.sweep.dir)
        _enter(directory, config, SWEEP_FILE)
        if config.plan:
            return
        try:
            _look_at_launcher(config)
            _look_at_backend(config)
            held.enter_context(claimed(directory))
            if not (directory / SWEEP_FILE).exists():
                record_sweep(directory, argv, Path.cwd(), launchers.number_of_jobs(config))
            elif any(run_folders(directory)):
                rebuild_sweep(directory)
        except (UsageError, WriteError) as error:
            leave(str(error), code_of(error))


def _look_at_launcher(config: DictConfig) -> None:
    global elsewhere  # noqa: PLW0603
    launchers.require(config)
    elsewhere = bool(launchers.module_of(config))


def _look_at_backend(config: DictConfig) -> None:
    """Refuse now what each job would refuse; what the sweep sweeps isn't known before its jobs."""
    from runner import ask_torch

    if config.get("backend") and not OmegaConf.missing_keys(config.backend):
        node = OmegaConf.to_container(config.backend, resolve=True, enum_to_str=True)
        ask_torch.refuse_wrong_backends([cast("dict[str, Any]", node)])


def _enter(directory: Path, config: DictConfig, marker: str) -> None:
    global launched, made, plan, strict  # how a callback tells the program that started Hydra
    launched, made, plan, strict = directory.absolute(), _to_make(directory.absolute()), config.plan, config.strict
    used = (directory / marker).exists()
    other = {RunRecord.FILE: SWEEP_FILE, SWEEP_FILE: RunRecord.FILE}[marker]
    if (directory / other).exists():
        kinds = {RunRecord.FILE: "a single run", SWEEP_FILE: "a sweep"}
        leave(f"{directory} holds {kinds[other]} and this is {kinds[marker]}: choose another directory")
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
        leave(f"can't create {directory}: {error.strerror}", 1)
    if not os.access(directory, os.W_OK):
        leave(f"can't write to {directory}: choose another one with hydra.run.dir=...", 1)


def _to_make(directory: Path) -> Path | None:
    """The topmost folder that isn't there yet."""
    return next((folder for folder in [*reversed(directory.parents), directory] if not folder.exists()), None)


def admit(directory: Path) -> None:
    """Forget that a job was refused before."""
    with contextlib.suppress(OSError):  # the disk that is read-only: whoever writes to it next says so
        (directory / REFUSAL_FILE).unlink(missing_ok=True)


def refuse(error: Exception, job: Path | None) -> None:
    """Say why a run can't be done; in a sweep, whose other jobs go on, the folder `job` keeps the reason."""
    global refused  # noqa: PLW0603
    refused = max(refused, code_of(error))
    print(error, file=sys.stderr)
    if job is not None:
        _note(job, code_of(error), str(error))


def pass_over(job: Path, shard: str) -> None:
    """Note in the folder `job` that all cells of the job belong to other shards of the sweep."""
    _note(job, 0, f"none of its cells is in select.shard={shard}")


def _note(job: Path, code: int, reason: str) -> None:
    with contextlib.suppress(OSError):  # the reason may be that nothing can be written there
        (job / REFUSAL_FILE).write_text(f"{code} {reason}\n", encoding="utf-8")


def tidy() -> None:
    """Leave nothing of what was planned only, or refused before it claimed its folder, if that is new."""
    if launched is None or made is None or any(launched.rglob(CLAIM_FILE)):
        return
    with contextlib.suppress(OSError):  # other runs are in the folder of the day
        shutil.rmtree(launched)
        for folder in (parent for parent in launched.parents if parent.is_relative_to(made)):
            folder.rmdir()


def code_of(error: Exception) -> int:
    """Exit code that a refusal gives."""
    return 2 if isinstance(error, UsageError) else 1


def code_of_refusals(directory: Path) -> int:
    """Worst exit code of the jobs below `directory` that were refused, here or on another machine; 0 without any."""
    said = [path.read_text(encoding="utf-8") for path in directory.glob(f"**/{REFUSAL_FILE}")]
    return max([refused, *(int(text[:1] or 1) for text in said)])  # a full disk leaves an empty file


def lost_jobs(directory: Path) -> int:
    """Jobs of a sweep that never came to record what they would do, nor why not."""
    if not (directory / SWEEP_FILE).is_file():
        return 0
    jobs = SweepRecord.load(directory).jobs or 0
    refusals = sum(1 for _ in directory.glob(f"**/{REFUSAL_FILE}"))
    return max(0, jobs - sum(1 for _ in run_folders(directory)) - refusals)


def code_without_runs(directory: Path) -> int:
    """Exit code of a launch that left no run: 2 for a sweep without jobs or cells, 1 where jobs vanished."""
    jobs = sum(folder.is_dir() for folder in directory.glob("**/.hydra"))
    reasons = sum(1 for _ in directory.glob(f"**/{REFUSAL_FILE}"))
    code = code_of_refusals(directory)
    if not jobs:
        print("No job was started: the sweep is empty (a glob that matches nothing?)", file=sys.stderr)
    elif reasons == jobs and not code:
        print("no cell selected: none of the sweep's cells is in this select.shard", file=sys.stderr)
    else:
        return code or int(not plan)
    return 2


def leave(message: str, code: int = 2) -> NoReturn:
    """End the program with one sentence."""
    print(message, file=sys.stderr)
    raise SystemExit(code)
