"""Runs one job: builds what its config names, lets the experiment run, and turns every failure into a message."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from runner.worker import toolchain
from runner.worker.context import JobContext
from runner.worker.failure import describe
from runner.worker.messages import Message

Send = Callable[[Message], None]
MakeContext = Callable[[Message, Send], JobContext]


def perform(
    job: Message, send: Send, through: tuple[type[BaseException], ...] = (), make: MakeContext | None = None
) -> Message:
    """Run `job` (see Job.message), `send` its values, and return the last message: done or failed.

    The process is put back as it was found, as far as that is cheap. Exceptions of the types `through` pass. `make`
    makes the context; a rank of a cell that spans devices has its own, without it such a cell is spread here.
    """
    if make is None and job["config"].get("parallel"):
        return _spread(job, send)
    context = (make or JobContext)(job, send)
    try:
        if job["config"].get("backend"):
            toolchain.ready()
        with preserved():
            run(job, context, send)
    except through:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a model raises, SystemExit included, makes a row
        _log_traceback(error)
        return describe(error, context.phase_of(error))
    return {"kind": "done"}


def _spread(job: Message, send: Send) -> Message:
    from runner.parallel.agent import run_ranks

    try:
        toolchain.ready()  # once for all ranks, which are forks
        return run_ranks(job, send)
    except Exception as error:  # noqa: BLE001 - the agent's own failure makes a row too
        _log_traceback(error)
        return describe(error, None)


def _log_traceback(error: BaseException) -> None:
    # Past sys.stderr: the model may have closed or replaced it.
    with contextlib.suppress(OSError):
        os.write(2, "".join(traceback.format_exception(error)).encode(errors="backslashreplace"))


def run(job: Message, context: JobContext, send: Send) -> None:
    """The job itself."""
    from runner import registry

    config = job["config"]
    experiment = registry.build(config["experiment"])
    context.prepare()
    context.note_flags(*job["flags"])
    seed_everything(context.seed)
    workload = None
    if experiment.needs_model:
        workload = context.load(context.cell.name)
        send({"kind": "values", "values": {"batch_size": workload.batch_size, "source": workload.source}})
        context.note_flags(*workload.flags)
    for row in experiment.run(workload, context):
        send({"kind": "values", "values": row})


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - models use the global generator
    torch.manual_seed(seed)


@contextmanager
def preserved() -> Iterator[None]:
    """Put back what a job may have changed in its process: directory, environment, and torch's global settings."""
    import torch

    directory, environment = os.getcwd(), dict(os.environ)  # noqa: PTH109 - the plain string is what is wanted
    settings = _settings(torch)
    functions = {name: getattr(torch, name) for name in ("manual_seed", "compile")}
    try:
        yield
    finally:
        os.chdir(directory)
        for name, function in functions.items():
            setattr(torch, name, function)
        _restore(torch, settings)
        if "torch._dynamo" in sys.modules:  # or models that share a forward reach its limit of recompilations
            torch._dynamo.reset()
        os.environ.clear()  # last: torch imports inductor to restore a setting, and that sets a variable
        os.environ.update(environment)


def _settings(torch: Any) -> Mapping[str, Any]:
    return {
        "grad": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "random": torch.get_rng_state(),
    }


def _restore(torch: Any, settings: Mapping[str, Any]) -> None:
    torch.set_grad_enabled(settings["grad"])
    torch.set_default_dtype(settings["dtype"])
    torch.use_deterministic_algorithms(settings["deterministic"])
    torch.set_float32_matmul_precision(settings["matmul"])
    torch.set_num_threads(settings["threads"])
    torch.set_rng_state(settings["random"])
