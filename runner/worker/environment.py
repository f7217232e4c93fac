"""What a child's process must have before torch starts: threads, CPUs, environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.errors import UsageError
from runner.measure.tuning import INHERIT, Tuning, available_cpus, cpu_sets, format_cpu_list, tune
from runner.worker.job import Job

#: What measure.affinity can be, as its error says it, and what device.cpus can be.
FORMS = ("inherit, or a list of CPUs as in 0-3,8", "a list of CPUs (0-3,8), several (0-3|4-7), or numa")


def tuning_of(config: Mapping[str, Any]) -> Tuning:
    """Threads and CPUs of a cell, from measure.threads, device.cpus and measure.affinity; raises UsageError.

    Of several sets of CPUs, all of which must do, it is the first; a lease that took another one says so in the device
    node.
    """
    given = _cpu_list(config)
    try:
        sets = [INHERIT] if given == INHERIT else [format_cpu_list(cpus) for cpus in cpu_sets(given)]
        tunings = [tune(config["measure"].get("threads"), affinity) for affinity in sets]
    except ValueError as error:
        raise UsageError(_worded(error, config)) from error
    return tunings[0]


def cpu_sets_of(config: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """CPUs that a cell needs for itself, hyperthreads of its cores included: what its lease covers, one of these."""
    given = _cpu_list(config)
    try:
        return [available_cpus()] if given == INHERIT else cpu_sets(given)
    except ValueError as error:
        raise UsageError(_worded(error, config)) from error


def _worded(error: ValueError, config: Mapping[str, Any]) -> str:
    """The error with the name of the key that was given."""
    given = config["device"].get("cpus")
    return str(error).replace("measure.affinity", "device.cpus").replace(*FORMS) if given else str(error)


def _cpu_list(config: Mapping[str, Any]) -> str:
    cpus, affinity = config["device"].get("cpus"), config["measure"].get("affinity", INHERIT)
    if cpus and affinity != INHERIT:
        raise UsageError(f"device.cpus={cpus} and measure.affinity={affinity} say the same thing: give one of them")
    return str(cpus or affinity)


def environment(base: Mapping[str, str], job: Job, tuning: Tuning) -> dict[str, str]:
    """The environment of the job's server: `base`, the threads, and what the job asks for."""
    return {
        "OPENBLAS_NUM_THREADS": "1",  # NumPy's: its helper threads would start with the import, before the fork
        **base,
        **tuning.environment,
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # or importing inductor initialises CUDA, and no child can use it
        **job.env,
    }
