"""What a child's process must have before torch starts: threads, CPUs, environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.errors import UsageError
from runner.measure.tuning import INHERIT, Tuning, available_cpus, parse_cpu_list, tune
from runner.worker.job import Job


def tuning_of(config: Mapping[str, Any]) -> Tuning:
    """Threads and CPUs of a cell, from measure.threads, device.cpus and measure.affinity; raises UsageError."""
    try:
        return tune(config["measure"].get("threads"), _cpu_list(config))
    except ValueError as error:
        raise UsageError(str(error)) from error


def cpus_of(config: Mapping[str, Any]) -> tuple[int, ...]:
    """CPUs that a cell needs for itself, hyperthreads of its cores included: what its lease covers."""
    given = _cpu_list(config)
    return available_cpus() if given == INHERIT else parse_cpu_list(given)


def _cpu_list(config: Mapping[str, Any]) -> str:
    return str(config["device"].get("cpus") or config["measure"].get("affinity", INHERIT))


def environment(base: Mapping[str, str], job: Job, tuning: Tuning) -> dict[str, str]:
    """The environment of the job's server: `base`, the threads, and what the job asks for."""
    return {
        "OPENBLAS_NUM_THREADS": "1",  # NumPy's: its helper threads would start with the import, before the fork
        **base,
        **tuning.environment,
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # or importing inductor initialises CUDA, and no child can use it
        **job.env,
    }
