"""What a history keeps of every run, and how it is asked."""
# ruff: noqa: S608 - names of tables and columns are constants of this module; values are always parameters

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

from runner.cells import SUBJECT, subject
from runner.errors import UsageError
from runner.history.database import Database
from runner.measure.comparisons import BETWEEN_SD_FLOOR
from runner.results.columns import UNFINISHED, Row, Status
from runner.results.reader import Run
from runner.results.text import finite

#: Version of the tables. 1: first version.
FORMAT = 1
#: What tells series apart: the subject, and everything that makes another number of the same code.
SERIES = (*SUBJECT, "backend", "device_name", "threads", "variant")
#: Columns of a result; the first four are what tells it from others.
RESULT = ("series", "run", "cell_id", "tag", "status", "accuracy", "speedup", "error", "latency_ms", "compile_s")
#: Nodes of a cell's configuration that don't make it another series: how it is measured, and what SERIES has anyway.
NOT_IN_VARIANT = ("measure", "seed", "choices", "model", "batch_size")
#: Keys of the other nodes that change no number: what is kept besides, what results are put beside, which device of
#: several alike.
WITHOUT_EFFECT = {
    "experiment": (
        *("baseline", "compare_outputs_with", "explain", "keep_model", "memory_snapshot", "save_outputs", "trace"),
    ),
    "device": ("index",),
}


class RunFacts(NamedTuple):
    """The columns RUN of one run."""

    identity: str
    directory: str
    started: str
    experiment: str
    env_id: str
    torch: str
    project_commit: str
    host: str


RUN = RunFacts._fields


class Point(NamedTuple):
    """One result of a series. `error` is the standard error of the log speedup, between processes included."""

    run: RunFacts
    status: str
    speedup: float | None
    error: float | None
    latency_ms: float | None


@dataclass(frozen=True)
class Series:
    """Results of one configuration in the order in which they were measured; `key` has the values of SERIES."""

    key: Mapping[str, str]
    points: tuple[Point, ...]

    @property
    def title(self) -> str:
        """Name and what tells the series from others, without what is empty."""
        words = ("suite", "experiment", "backend", "dev", "precision", "mode", "task")
        shown = [self.key[word] for word in words if self.key[word]]
        batch = f"batch {self.key['batch_size']}" if self.key["batch_size"] else ""
        return ", ".join(filter(None, [f"{self.key['name']}: {' '.join(shown)}", batch, self.key["device_name"]]))

    @cached_property
    def measured(self) -> list[Point]:
        """The points whose number counts."""
        return [p for p in self.points if p.status == Status.OK and p.speedup and p.error]


class Store:
    """The tables of an open database, made with `create` where they are not there.

    Raises UsageError for a database of another version, or without a history in it.
    """

    def __init__(self, database: Database, create: bool) -> None:
        self.database = database
        self._known: dict[tuple[str, ...], int] = {}
        if create:
            self._create()
        self._check()

    def add(self, run: Run) -> int:
        """Add a run's final rows, and return how many it has.

        A row that was there is replaced: a run that was resumed has better ones.
        """
        rows = [row for row in run.rows if row["status"] not in UNFINISHED]
        configs = run.record.cells
        self.add_rows(run_facts(run), [(series_key(row, configs.get(row["cell_id"], {})), row) for row in rows])
        return len(rows)

    def add_rows(self, facts: RunFacts, rows: Sequence[tuple[tuple[str, ...], Row]]) -> None:
        """Add rows with their series to the run that `facts` tell."""
        run = self._run(facts)
        numbers = self._series_numbers({key for key, _ in rows})
        self.database.upsert("results", RESULT, 4, [(numbers[key], run, *values(row)) for key, row in rows])

    def series(self, name: str | None = None) -> Iterator[Series]:
        """All series, or those of the models that a pattern (`*`, `?`) or name means, in order."""
        where, given = ("", ()) if name is None else ("WHERE name LIKE ? ESCAPE '!'", (_like(name),))
        wanted = self.database.execute(f"SELECT id, {', '.join(SERIES)} FROM series {where}", given)
        keys = {key[0]: key[1:] for key in wanted}
        runs = {run[0]: RunFacts(*run[1:]) for run in self.database.execute(f"SELECT id, {', '.join(RUN)} FROM runs")}
        for number, key in sorted(keys.items()):
            found = self.database.execute(
                "SELECT run, status, speedup, error, latency_ms FROM results WHERE series = ? ORDER BY run", (number,)
            )
            points = [Point(runs[record[0]], *record[1:]) for record in found]
            points.sort(key=lambda point: point.run.started)
            yield Series(dict(zip(SERIES, key, strict=True)), tuple(points))

    def totals(self) -> dict[str, int]:
        """How many records each table has."""
        return {table: self._total(table) for table in ("runs", "series", "results")}

    def _total(self, table: str) -> int:
        return int(self.database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])

    def _run(self, facts: RunFacts) -> int:
        """Number of a run, which is written down if it is new."""
        places = ", ".join("?" * len(RUN))
        self.database.execute(f"INSERT INTO runs ({', '.join(RUN)}) VALUES ({places}) ON CONFLICT DO NOTHING", facts)
        found = self.database.execute("SELECT id FROM runs WHERE identity = ?", (facts.identity,))
        return int(found.fetchone()[0])

    def _series_numbers(self, keys: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
        """Numbers of series, which are written down if they are new."""
        names, places = ", ".join(SERIES), ", ".join("?" * len(SERIES))
        if any(key not in self._known for key in keys):
            for key in keys:
                self.database.execute(f"INSERT INTO series ({names}) VALUES ({places}) ON CONFLICT DO NOTHING", key)
            self._known = {key[1:]: key[0] for key in self.database.execute(f"SELECT id, {names} FROM series")}
        return self._known

    def _create(self) -> None:
        self.database.alone()
        for statement in schema(self.database.serial, self.database.clustered):
            self.database.execute(statement)
        self.database.execute(
            "INSERT INTO history_format (version) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM history_format)", (FORMAT,)
        )

    def _check(self) -> None:
        found = self.database.execute("SELECT MAX(version) FROM history_format").fetchone()[0]
        if found is None or found > FORMAT:
            raise UsageError(f"this history has format {found}, this version reads up to {FORMAT}: use a newer runner")


def schema(serial: str, clustered: str) -> list[str]:
    """Statements that make the tables where they are not there."""
    keys = ", ".join(f"{key} TEXT NOT NULL" for key in SERIES)
    runs = ", ".join(f"{key} TEXT NOT NULL" for key in RUN)
    return [
        "CREATE TABLE IF NOT EXISTS history_format (version INTEGER NOT NULL)",
        f"CREATE TABLE IF NOT EXISTS runs (id {serial}, {runs}, UNIQUE (identity))",
        f"CREATE TABLE IF NOT EXISTS series (id {serial}, {keys}, UNIQUE ({', '.join(SERIES)}))",
        # REAL would have four bytes in PostgreSQL.
        (
            "CREATE TABLE IF NOT EXISTS results (series BIGINT NOT NULL REFERENCES series (id), "
            "run BIGINT NOT NULL REFERENCES runs (id), cell_id TEXT NOT NULL, tag TEXT NOT NULL, status TEXT NOT NULL, "
            "accuracy TEXT NOT NULL, speedup DOUBLE PRECISION, error DOUBLE PRECISION, latency_ms DOUBLE PRECISION, "
            f"compile_s DOUBLE PRECISION, PRIMARY KEY (series, run, cell_id, tag)) {clustered}"
        ),
    ]


def run_facts(run: Run) -> RunFacts:
    """What is kept of a run. Its identity is its run.json, wherever the folder lies now."""
    record = run.record
    environment = record.environment
    project = (environment.get("git") or {}).get("project") or {}
    content = (run.directory / record.FILE).read_bytes()
    return RunFacts(
        identity=hashlib.sha256(content).hexdigest(),
        directory=str(run.directory.absolute()),
        started=universal(record.started),
        experiment=record.experiment,
        env_id=record.env_id,
        torch=str((environment.get("torch") or {}).get("version") or ""),
        project_commit=str(project.get("commit") or ""),
        host=str(environment.get("host") or ""),
    )


def universal(time: str) -> str:
    """A time with its offset in UTC, so that times of several hosts sort as text."""
    return datetime.fromisoformat(time).astimezone(UTC).isoformat()


def series_key(row: Row, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The series that a row belongs to, as the values of SERIES."""
    own = ("backend", "device_name", "threads")
    return (*subject(row), *("" if row.get(key) is None else str(row[key]) for key in own), variant(config))


def variant(config: Mapping[str, Any]) -> str:
    """Hash of what a cell's configuration says beyond the subject: other backend options are another series."""
    kept = {key: _unasked(key, value) for key, value in config.items() if key not in NOT_IN_VARIANT}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _unasked(name: str, node: Any) -> Any:
    """A node as it is where nobody asks for what changes no number: switches off, the rest left out."""
    keys = WITHOUT_EFFECT.get(name, ())
    if not keys:
        return node
    return {k: False if k in keys else v for k, v in node.items() if k not in keys or isinstance(v, bool)}


def values(row: Row) -> tuple[Any, ...]:
    """Values of RESULT after series and run."""
    numbers = [finite(row.get(key)) for key in ("speedup", "abs_latency", "compile_s")]
    words = [str(row.get(key) or "") for key in ("cell_id", "tag", "status", "accuracy")]
    return (*words, numbers[0], error_of(row), numbers[1], numbers[2])


def error_of(row: Row) -> float | None:
    """Standard error of a row's log speedup with what processes differ by, as two results are compared."""
    within, processes = finite(row.get("se_within")), row.get("n_processes") or 1
    if not within:
        return None
    between = max(finite(row.get("between_sd")) or 0.0, BETWEEN_SD_FLOOR)
    return math.sqrt((within**2 + between**2) / processes)


def _like(pattern: str) -> str:
    """A shell pattern as one of SQL's."""
    escaped = "".join(f"!{c}" if c in "!%_" else c for c in pattern)
    return escaped.replace("*", "%").replace("?", "_")


def logs_and_errors(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """What step detection takes: log speedups with their standard errors."""
    known = [(math.log(p.speedup), p.error) for p in points if p.speedup and p.error]
    return [value for value, _ in known], [error for _, error in known]
