"""Shards of a sweep: each of its jobs is joined from the parts of it that the shards have."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from runner import arguments, launch
from runner.errors import UsageError
from runner.joining import runs as joining
from runner.results.command import key
from runner.results.reader import Run, read_run, run_folders
from runner.results.run import REFUSAL_FILE, SweepRecord, record_sweep

#: Groups that decide what an environment says of device and threads.
PLACE = frozenset({"device", "measure"})
MULTIRUN = frozenset({"--multirun", "-m"})


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder and the runs of its jobs; a job that had no cell in its shard has none."""

    directory: Path
    record: SweepRecord
    runs: tuple[Run, ...]

    @classmethod
    def load(cls, directory: Path) -> Sweep:
        """Read a sweep. Raises UsageError for a record that can't be read."""
        found = read_run(directory).runs if any(run_folders(directory)) else ()
        return cls(directory, SweepRecord.load(directory), found)

    @property
    def asked(self) -> list[str]:
        """What its command asks of all jobs; Hydra's own keys decide no cell."""
        _, overrides = arguments.split(self.record.command)
        return [word for word in overrides if not key(word).startswith("hydra")]


def join(sweeps: Sequence[Sweep], into: Path) -> None:
    """Write `into` as the sweep that `sweeps` are shards of; as a run, where only the shard was swept.

    Raises UsageError, WriteError.
    """
    jobs = _jobs(sweeps)
    _refuse_moved([run for sweep in sweeps for run in sweep.runs])
    for runs in jobs:
        joining.refuse_unlike(runs)
    launch.register_resolvers("")
    if len(jobs) == 1:
        joining.write(jobs[0], into, _single(jobs[0][0]))
        return
    first = sweeps[0].record
    command = joining.shared(first.command)
    swept_shards = arguments.sweeps(first.command, "select.shard")
    record_sweep(into, command, Path(first.cwd), len(jobs) if swept_shards else first.jobs)
    for runs in jobs:
        job = runs[0].directory
        sweep = next(sweep.directory for sweep in sweeps if job.is_relative_to(sweep.directory))
        joining.write(runs, into / _place(job, sweep), command, into)
    for each in sweeps:
        _keep_refusals(each.directory, into)


def _jobs(sweeps: Sequence[Sweep]) -> list[list[Run]]:
    """The runs of each job. Raises UsageError for sweeps that have no run, or other jobs than the first one."""
    first = sweeps[0]
    numbered: dict[int | None, Run] = {}
    jobs: dict[frozenset[str], list[Run]] = {}
    for sweep in sweeps:
        joining.refuse_different(first.directory, first.asked, sweep.directory, sweep.asked)
        if sweep.record.jobs != first.record.jobs:
            both = f"{first.directory} has {first.record.jobs} jobs and {sweep.directory} {sweep.record.jobs}"
            raise UsageError(f"{both}: they are no shards of one sweep")
        for run in sweep.runs:
            same = numbered.setdefault(run.record.job, run)
            joining.refuse_different(same.directory, same.record.overrides, run.directory, run.record.overrides)
            jobs.setdefault(frozenset(joining.shared(run.record.overrides)), []).append(run)
    if not jobs:
        raise UsageError(f"{first.directory} holds no run: none of its jobs had a cell")
    return sorted(jobs.values(), key=lambda runs: runs[0].record.job or 0)


def _refuse_moved(runs: Sequence[Run]) -> None:
    """Raise UsageError where jobs that should share their environment don't: they have no cell in common to tell."""
    first: dict[frozenset[str], Run] = {}
    for run in runs:
        chosen = (word for word in run.record.overrides if key(word).partition(".")[0] in PLACE)
        same = first.setdefault(frozenset(chosen), run)
        joining.refuse_moved(same, run)


def _single(run: Run) -> list[str]:
    """The command of the one run whose shards were a sweep's jobs."""
    flags, _ = arguments.split(run.record.command)
    return [*(word for word in flags if word not in MULTIRUN), *joining.shared(run.record.overrides)]


def _place(job: Path, sweep: Path) -> Path:
    """Where a job belongs in the sweep of all shards: the name of its folder may say the shard."""
    saved = job / ".hydra"
    if not (saved / "hydra.yaml").is_file():
        return job.relative_to(sweep)
    config, hydra = (_read(saved / f"{name}.yaml") for name in ("config", "hydra"))
    facts = {name: hydra["hydra"][name] for name in ("job", "sweep")}
    naming = facts["job"]["config"]["override_dirname"]
    words = joining.shared(hydra["hydra"]["overrides"]["task"])
    named = sorted(word for word in words if key(word) not in naming["exclude_keys"])
    facts["job"]["override_dirname"] = naming["item_sep"].join(named).replace("=", naming["kv_sep"])
    return Path(str(OmegaConf.create({**config, "hydra": facts}).hydra.sweep.subdir))


def _read(path: Path) -> dict[str, Any]:
    """A file of Hydra's; OmegaConf's own way takes a tenth of a second, and a sweep may have a thousand jobs."""
    return dict(yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))  # noqa: S506


def _keep_refusals(sweep: Path, into: Path) -> None:
    """Copy the notes of jobs that could not be done. That a job had no cell in its shard no longer matters."""
    for note in sweep.glob(f"**/{REFUSAL_FILE}"):
        if not note.read_text(encoding="utf-8").startswith("0"):
            place = into / _place(note.parent, sweep)
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(note, place / REFUSAL_FILE)
