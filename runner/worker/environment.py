"""What a child's process must have before torch starts: threads, CPUs, environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.errors import UsageError
from runner.measure.tuning import INHERIT, Tuning, available_cpus, cpu_sets, format_cpu_list, tune
from runner.worker.job import Job


def tuning_of(config: Mapping[str, Any]) -> Tuning:
    """Threads and CPUs of a cell, from measure.threads, device.cpus and measure.affinity; raises UsageError.

    Of several sets of CPUs it is the first; a lease that took another one says so in the device node.
    """
    given = _cpu_list(config)
    try:
        affinity = given if given == INHERIT else format_cpu_list(cpu_sets(given)[0])
        return tune(config["measure"].get("threads"), affinity)
    except ValueError as error:
        raise UsageError(_worded(error, config)) from error


def cpu_sets_of(config: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """CPUs that a cell needs for itself, hyperthreads of its cores included: what its lease covers, one of these."""
    given = _cpu_list(config)
    try:
        return [available_cpus()] if given == INHERIT else cpu_sets(given)
    except ValueError as error:
        raise UsageError(_worded(error, config)) from error


def _worded(error: ValueError, config: Mapping[str, Any]) -> str:
    """The error with the name of the key that was given."""
    return str(error).replace("measure.affinity", "device.cpus") if config["device"].get("cpus") else str(error)


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
