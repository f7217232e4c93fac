"""The columns that every experiment's CSV has, and how an experiment's own columns join them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

Row = dict[str, Any]


class Status(str, Enum):
    """How a cell ended. Exactly one per row."""

    OK = "ok"
    SKIPPED = "skipped"
    UNSUPPORTED = "unsupported"
    LOAD_ERROR = "load_error"
    EAGER_ERROR = "eager_error"
    COMPILE_ERROR = "compile_error"
    RUN_ERROR = "run_error"
    CHECK_ERROR = "check_error"
    WRONG_OUTPUT = "wrong_output"
    OOM = "oom"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    INTERRUPTED = "interrupted"
    INTERNAL_ERROR = "internal_error"


class Phase(str, Enum):
    """Where in a cell something happened."""

    LOAD = "load"
    EAGER = "eager"
    COMPILE = "compile"
    CHECK = "check"
    MEMORY = "memory"
    WARMUP = "warmup"
    MEASURE = "measure"


#: Statuses that leave the exit code at 0; with `strict=true` UNSUPPORTED is not among them.
HARMLESS = frozenset({Status.OK, Status.SKIPPED, Status.UNSUPPORTED})
#: Rows with one of these are run again by `resume`.
UNFINISHED = frozenset({Status.INTERRUPTED, Status.INTERNAL_ERROR})


@dataclass(frozen=True)
class Column:
    """One column of a result file.

    `type` is str, int, float or bool. `unit` is "" where there is none. A `headline` column is one that upstream
    writes directly after `dev,name,batch_size,tag`, under upstream's name, so that existing dashboards find it there.
    """

    name: str
    type: type
    unit: str
    meaning: str
    headline: bool = False


KEY = (
    Column("dev", str, "", "device type the model ran on: cpu, cuda, xpu, ..."),
    Column("name", str, "", "model (or operator) name"),
    Column("batch_size", int, "", "effective batch size, after the suite's and the model's own rules"),
    Column("tag", str, "", "free text given with tag=; tells runs apart in one table"),
)
CELL = (
    Column("cell_id", str, "", "12 hex digits that identify the cell's resolved configuration"),
    Column("suite", str, "", "suite the model was taken from"),
    Column("source", str, "", "where it is from: builtin, timm, transformers, torchbenchmark, module, operator log"),
    Column("experiment", str, "", "experiment that made the row"),
    Column("backend", str, "", "backend under test"),
    Column("precision", str, "", "fp32, bf16, amp_bf16, ..."),
    Column("mode", str, "", "inference or training"),
    Column("dynamic", str, "", "how the inputs vary: static, batch, all, unbacked"),
    Column("task", str, "", "task of the experiment, where it has tasks"),
    Column("optimizer", str, "", "optimizer of the training step"),
    Column("parallel", str, "", "how the cell spans devices"),
    Column("policy", str, "", "per-model policy that was applied, as JSON; empty when none"),
    Column("device_name", str, "", "model name of the CPU or accelerator"),
    Column("device_uuid", str, "", "UUID of the physical accelerator"),
    Column("isolation", str, "", "how the cell was kept apart: fork, spawn, none"),
    Column("env_id", str, "", "hash of torch, device, threads and the recorded environment variables"),
)
OUTCOME = (
    Column("status", str, "", "how the cell ended; `ok` is the only one whose numbers count"),
    Column("phase", str, "", "phase in which it failed; empty when it did not"),
    Column("error_type", str, "", "type of the exception, name of the signal, or the limit that was hit"),
    Column("error", str, "", "one line that says what happened"),
    Column("flags", str, "", "words about the measurement that a reader should know, separated by ;"),
    Column("cell_s", float, "s", "wall time of the cell's child processes, all attempts together"),
    Column("phase_s", str, "", "seconds that they spent in each phase: load=1.2;eager=0.3;..."),
    Column("log", str, "", "the cell's log, relative to the folder that holds this file"),
    Column("command", str, "", "command line that reproduces this one row"),
)
CHECK = (
    Column("accuracy", str, "", "verdict on the outputs, in upstream's words"),
    Column("reference", str, "", "what the outputs were compared with: fp64, fp32, none"),
    Column("max_abs_err", float, "", "largest absolute difference between backend and eager"),
    Column("max_rel_err", float, "", "largest |backend - eager| / (scale + |eager|); scale is 1, small values' less"),
    Column("worst_tensor", str, "", "tensor that holds the largest relative difference"),
)
COMMON = (*KEY, *CELL, *OUTCOME, *CHECK)


def header(own: Iterable[Column]) -> tuple[Column, ...]:
    """All columns of an experiment's CSV in their final order; `own` are the experiment's."""
    own = tuple(own)
    names = [column.name for column in (*COMMON, *own)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"columns declared twice: {', '.join(repeated)}")
    headline = tuple(column for column in own if column.headline)
    return (*KEY, *headline, *CELL, *OUTCOME, *CHECK, *(c for c in own if not c.headline))


def join_flags(*flags: str | None) -> str:
    """One value of column `flags` of several: each word once, in order."""
    words = [word for text in flags for word in (text or "").split(";") if word]
    return ";".join(dict.fromkeys(words))
