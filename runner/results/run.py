"""`run.json` and `sweep.json`: what was asked for and where, written once before the first cell starts."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from runner import __version__
from runner.errors import UsageError
from runner.results.columns import Column, Row
from runner.results.writer import WriteError, opened, write_whole

SWEEP_FILE = "sweep.json"
#: What a process locks that writes to a folder.
CLAIM_FILE = ".claim"
#: Why a job of a sweep has no run, in its folder, behind its exit code: the job may run on another machine.
REFUSAL_FILE = "refused.txt"
#: Version of the format of run.json, sweep.json and the files that they describe.
#: 1: first version.
FORMAT = 1
#: File names that the runner itself uses; no experiment and no long table may be called so.
RESERVED = frozenset({"pending", "sweep"})
TYPES: Mapping[str, type] = {kind.__name__: kind for kind in (str, int, float, bool)}


@dataclass(frozen=True)
class RunRecord:
    """Everything about a run that is known before its first row.

    `cells` maps each cell_id to the cell's resolved configuration, in catalogue order; `planned` has the rows of
    those that need no child. `columns` is the whole header, `tables` the experiment's long tables, `summary` the
    names of the columns that the summary shows. `command` is the argv of the whole command, `overrides` those of this
    job alone, `job` its number in a sweep.
    """

    FILE: ClassVar[str] = "run.json"

    experiment: str
    cells: Mapping[str, Mapping[str, Any]]
    columns: tuple[Column, ...]
    command: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    planned: Mapping[str, Row] = field(default_factory=dict)
    tables: Mapping[str, tuple[Column, ...]] = field(default_factory=dict)
    summary: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    env_id: str = ""
    job: int | None = None
    cwd: str = ""
    started: str = ""

    def __post_init__(self) -> None:
        taken = sorted(RESERVED & {self.experiment, *self.tables} or {self.experiment} & set(self.tables))
        if taken:
            raise ValueError(f"no experiment or table can write {taken[0]}.csv: the name is taken")

    def name(self, cell_id: str) -> str:
        """Model name of a cell."""
        return str(self.cells[cell_id]["model"]["name"])

    def write(self, directory: Path) -> RunRecord:
        """Write `directory/run.json` and return the record with time and working directory filled in.

        Raises UsageError where the folder already holds a run, WriteError where it can't be written.
        """
        record = replace(self, cwd=self.cwd or os.fspath(Path.cwd()), started=self.started or now())
        write_once(directory, self.FILE, encode(record))
        return record

    @classmethod
    def load(cls, directory: Path) -> RunRecord:
        """Read `directory/run.json`. Raises UsageError where there is none that this version understands."""
        return decode(read_once(directory, cls.FILE))


@dataclass(frozen=True)
class SweepRecord:
    """The command of a sweep, for `resume`; `jobs` is how many it has, None where that isn't known."""

    command: tuple[str, ...]
    cwd: str
    started: str
    jobs: int | None = None

    @classmethod
    def load(cls, directory: Path) -> SweepRecord:
        """Read `directory/sweep.json`. Raises UsageError where there is none that this version understands."""
        data = read_once(directory, SWEEP_FILE)
        return cls(tuple(data["command"]), data["cwd"], data["started"], data.get("jobs"))


@contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """Keep a run's folder to this process for as long as it writes there. Raises UsageError where another one does.

    The kernel gives the claim back when the process dies, however it dies.
    """
    try:
        file = os.open(directory / CLAIM_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise WriteError(f"can't write to {directory}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{directory} is in use by another process: wait for it or end it") from None
        yield
    finally:
        os.close(file)


def record_sweep(directory: Path, argv: Sequence[str], cwd: Path, jobs: int | None = None) -> None:
    """Write `directory/sweep.json`. Raises UsageError where there is one, WriteError where it can't be written."""
    write_once(directory, SWEEP_FILE, asdict(SweepRecord(tuple(argv), os.fspath(cwd), now(), jobs)))


def write_once(directory: Path, name: str, data: Mapping[str, Any]) -> None:
    """Write a record with the version of the format. Raises UsageError where there is one already, WriteError."""
    path = directory / name
    text = json.dumps({"format": FORMAT, "runner": __version__, **data}, indent=1)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_exclusive(path, text.encode())
    except OSError as error:
        if isinstance(error, FileExistsError) and path.exists():
            message = f"{directory} holds the results of another run: choose another directory"
            raise UsageError(f"{message}, or continue it with resume") from None
        raise WriteError(f"can't write {path}: {error.strerror or error}") from error


def read_once(directory: Path, name: str) -> dict[str, Any]:
    """Read a record. Raises UsageError where there is none, or none that this version understands."""
    path = directory / name
    try:
        data = json.loads(path.read_bytes())
        version = data["format"]
    except FileNotFoundError:
        raise UsageError(f"{directory} holds no results: it has no {name}") from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise UsageError(f"{path} isn't the record of a run: {error}") from error
    if not isinstance(version, int) or version > FORMAT:
        raise UsageError(f"{path} has result format {version}, this version reads up to {FORMAT}: use a newer runner")
    return dict(data)


def now() -> str:
    """Local time with its offset, ISO 8601, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def write_exclusive(path: Path, data: bytes) -> None:
    """Create `path` with all of `data`, or raise FileExistsError; half a file is never seen under that name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
            write_whole(file, data)
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def encode(record: RunRecord) -> dict[str, Any]:
    """Plain data of the record. What all cells share is written once: a thousand cells stay readable."""
    shared = common_items(list(record.cells.values()))
    plain = {key: value for key, value in vars(record).items() if key not in ("cells", "columns", "tables")}
    return {
        **plain,
        "shared": shared,
        "cells": {key: {k: v for k, v in c.items() if k not in shared} for key, c in record.cells.items()},
        "columns": encode_columns(record.columns),
        "tables": {name: encode_columns(columns) for name, columns in record.tables.items()},
    }


def decode(data: Mapping[str, Any]) -> RunRecord:
    """The record that `encode` made `data` of."""
    plain = {key: data[key] for key in ("experiment", "planned", "environment", "env_id", "job", "cwd", "started")}
    return RunRecord(
        **plain,
        cells={key: {**data["shared"], **cell} for key, cell in data["cells"].items()},
        columns=decode_columns(data["columns"]),
        tables={name: decode_columns(columns) for name, columns in data["tables"].items()},
        command=tuple(data["command"]),
        overrides=tuple(data["overrides"]),
        summary=tuple(data["summary"]),
    )


def common_items(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Items that all of `configs` have."""
    if not configs:
        return {}
    first, *others = [{k: json.dumps(v, sort_keys=True) for k, v in config.items()} for config in configs]
    # Compared as text: 1, 1.0 and True are equal, and not the same configuration.
    return {k: configs[0][k] for k, v in first.items() if all(other.get(k) == v for other in others)}


def encode_columns(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Columns as plain data, their types by name."""
    return [{**asdict(column), "type": column.type.__name__} for column in columns]


def decode_columns(columns: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """Columns from plain data."""
    return tuple(Column(**{**column, "type": TYPES[column["type"]]}) for column in columns)
