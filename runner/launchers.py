"""What Hydra's launchers need from us: their package, their number of jobs at once, and patience with lost jobs.

A job that runs elsewhere is a process that never saw the command line: `Task` brings it what the command line said.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from runner import catalog
from runner.devices import detect
from runner.errors import UsageError

#: Launcher by the module of its plug-in -> what installs it.
PACKAGES = {
    "hydra_joblib_launcher": "pip install 'torch-benchmark-runner[joblib]'",
    "hydra_submitit_launcher": "pip install 'torch-benchmark-runner[slurm]'",
    "hydra_ray_launcher": "pip install 'torch-benchmark-runner[ray]', in an environment without joblib's launcher",
}
#: Jobs at a time on a machine without accelerators: one measures, the next gets ready.
JOBS_WITHOUT_ACCELERATOR = 2
#: Seconds between two looks at Slurm's queue, and for the result of a job that left it to show on a network's disk.
QUEUE_POLL_S, RESULT_S = 2.0, 10.0


def register_resolvers() -> None:
    """`${jobs_at_once:}` and `${batch_of:LAUNCHER}` for conf/hydra."""
    OmegaConf.register_new_resolver("jobs_at_once", jobs_at_once, replace=True)
    OmegaConf.register_new_resolver("batch_of", batch_of, replace=True)


def jobs_at_once() -> int:
    """Jobs that this machine can run side by side: one per visible accelerator."""
    kind = detect.resolve("auto")
    return max(1, len(detect.visible(kind))) if kind != "cpu" else JOBS_WITHOUT_ACCELERATOR


def batch_of(launcher: str) -> int | None:
    """The sweeper's batch for a launcher: submitit's local one starts all jobs of a batch at once."""
    return jobs_at_once() if launcher.endswith(".LocalLauncher") else None


def module_of(config: DictConfig) -> str:
    """Name of the plug-in that the chosen launcher comes from; empty for Hydra's own."""
    words = str(config.hydra.launcher.get("_target_", "")).split(".")
    return words[1] if words[0] == "hydra_plugins" else ""


def require(config: DictConfig) -> None:
    """Raise UsageError where the chosen launcher isn't installed; make submitit's wait for all jobs."""
    module = module_of(config)
    if not module:
        return
    if importlib.util.find_spec("hydra_plugins") is None or not importlib.util.find_spec(f"hydra_plugins.{module}"):
        raise UsageError(f"hydra/launcher needs {module}: {PACKAGES.get(module, 'install it')}")
    if module == "hydra_submitit_launcher":
        wait_for_all()


def wait_for_all() -> None:
    """Let submitit count a job without a result as one that ended, and cancel its jobs when this process is ended.

    Hydra's launcher would leave at the first job that was killed, with the others still running. The killed job's
    cells have no row, which makes the exit code 1 and is what `resume` looks for.
    """
    from hydra.core.utils import JobReturn, JobStatus
    from submitit.core.core import Executor, Job
    from submitit.core.utils import FailedJobError, UncompletedJobError

    submit, take, jobs = Executor.map_array, Job.results, list[Any]()

    def map_array(executor: Any, function: Any, *values: Any) -> list[Any]:
        launched: list[Any] = submit(executor, function, *values)
        jobs.extend(launched)
        return launched

    def results(job: Any) -> list[Any]:
        try:
            if wait_for(job):
                return take(job)
            say(f"job {job.job_id} is gone from the queue and left no result")
        except (FailedJobError, UncompletedJobError) as error:
            say(f"job {job.job_id} left no result: {str(error).strip().splitlines()[0]}")
        except KeyboardInterrupt:
            for other in jobs:
                if not other.paths.result_pickle.exists():
                    other.cancel(check=False)
            raise
        return [JobReturn(status=JobStatus.COMPLETED)]

    for owner, name, function in ((Executor, "map_array", map_array), (Job, "results", results)):
        setattr(owner, name, function)


def say(sentence: str) -> None:
    """Tell the user what isn't in any row."""
    print(sentence, file=sys.stderr)


def wait_for(job: Any) -> bool:
    """Wait until a submitit job has ended; False when it is gone without a result.

    A Slurm without accounting never tells submitit that a killed job has ended: the queue does.
    """
    missed = 0
    while not job.done():
        missed = missed + 1 if job.__class__.__name__ == "SlurmJob" and not is_queued(job.job_id) else 0
        if missed * QUEUE_POLL_S > RESULT_S:
            return bool(job.paths.result_pickle.exists())
        time.sleep(QUEUE_POLL_S)
    return True


def is_queued(job_id: str) -> bool:
    """Whether Slurm still has the job waiting or running; True where it can't be asked."""
    done = subprocess.run(
        ["squeue", "--noheader", "--array", f"--jobs={job_id}", "--format=%i"],
        capture_output=True,
        text=True,
        check=False,
    )
    return bool(done.stdout.strip()) if done.returncode == 0 else "Invalid job id" not in done.stderr


def number_of_jobs(config: DictConfig) -> int:
    """Jobs of the sweep that `config` starts: the product of what its overrides list."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    params = config.hydra.sweeper.get("params") or {}
    words = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
    numbers: dict[str, int] = {}
    for override in OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(words):
        discrete = override.is_sweep_override() and override.is_discrete_sweep()
        numbers[override.get_key_element()] = sum(1 for _ in override.sweep_string_iterator()) if discrete else 1
    product = 1
    for number in numbers.values():
        product *= number
    return product


class Task:
    """The function that Hydra calls for each job. Pickled, it takes the command line and the catalogue along."""

    def __init__(self, function: Callable[[DictConfig], None], arrive: Callable[[Mapping[str, Any]], Task]) -> None:
        self._function = function
        self._arrive = arrive
        self._threads = threads()  # before joblib is imported, which sets some
        self.__module__ = function.__module__

    def __call__(self, config: DictConfig) -> None:
        """Run one job."""
        self._function(config)

    def __reduce__(self) -> tuple[Any, ...]:
        """Where it arrives, the process has to be prepared before anything is composed there."""
        from runner import guard

        taken = {"argv": guard.argv, "catalogue": vars(catalog.current), "host": host(), "threads": self._threads}
        return self._arrive, (taken,)


def host() -> str:
    """Name of this machine."""
    return os.uname().nodename


def threads() -> dict[str, str]:
    """What the environment says about threads."""
    return {key: value for key, value in os.environ.items() if key.endswith("_NUM_THREADS") or key.startswith("KMP_")}


def restore_threads(taken: Mapping[str, Any]) -> None:
    """On the launching machine, undo what joblib sets for its workers: how many threads, the cells say themselves."""
    if taken["host"] == host():
        for name in threads():
            del os.environ[name]
        os.environ.update(taken["threads"])
