"""The two databases: SQLite in a file, which Python brings along, or PostgreSQL by URL for a team.

Statements are written once, with `?` for values and the SQL that both know.
"""
# ruff: noqa: S608 - names of tables and columns are constants of this module; values are always parameters

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from runner.errors import UsageError

POSTGRES = ("postgresql://", "postgres://")
Record = tuple[Any, ...]
#: Number of the advisory lock under which tables are made; any number that nobody else uses.
LOCK = 7_242_186_001


class Database(Protocol):
    """What the store needs of a database; everything between opening and closing is one transaction."""

    serial: str  # type of a primary key that numbers itself
    clustered: str  # behind a table that is kept in the order of its primary key

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Run one statement; returns a cursor."""
        ...

    def alone(self) -> None:
        """Wait until nobody else is making tables; the others wait until this transaction ends."""
        ...

    def upsert(self, table: str, columns: Sequence[str], keys: int, records: Sequence[Record]) -> None:
        """Add many records, fast; the first `keys` columns are unique, one that is there gets the new values."""
        ...


class Sqlite:
    """A file."""

    serial = "INTEGER PRIMARY KEY"
    clustered = "WITHOUT ROWID"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Run one statement."""
        return self.connection.execute(statement, values)

    def alone(self) -> None:
        """Making a table locks the whole file already."""

    def upsert(self, table: str, columns: Sequence[str], keys: int, records: Sequence[Record]) -> None:
        """With one prepared statement."""
        places = ", ".join("?" * len(columns))
        self.connection.executemany(f"{_insert(table, columns)} VALUES ({places}) {_conflict(columns, keys)}", records)


class Postgres:
    """A server."""

    serial = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    clustered = ""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Run one statement."""
        return self.connection.execute(statement.replace("%", "%%").replace("?", "%s"), values)

    def alone(self) -> None:
        """By a lock of our own: two that make one table at once fail, IF NOT EXISTS or not."""
        self.execute("SELECT pg_advisory_xact_lock(?)", (LOCK,))

    def upsert(self, table: str, columns: Sequence[str], keys: int, records: Sequence[Record]) -> None:
        """By way of a temporary table, which COPY fills."""
        names = ", ".join(columns)
        self.execute(f"CREATE TEMPORARY TABLE incoming ON COMMIT DROP AS SELECT {names} FROM {table} WHERE false")
        with self.connection.cursor() as cursor, cursor.copy(f"COPY incoming ({names}) FROM STDIN") as copy:
            for record in records:
                copy.write_row(record)
        self.execute(f"{_insert(table, columns)} SELECT {names} FROM incoming {_conflict(columns, keys)}")
        self.execute("DROP TABLE incoming")


def _insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)})"


def _conflict(columns: Sequence[str], keys: int) -> str:
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns[keys:])
    return f"ON CONFLICT ({', '.join(columns[:keys])}) DO UPDATE SET {changed}"


@contextmanager
def opened(where: str, create: bool) -> Iterator[Database]:
    """The database `where`, a file or a PostgreSQL URL; what was written is kept when the context ends well.

    Raises UsageError where it can't be opened; with `create` a file that isn't there comes into being.
    """
    if "://" in where and not where.startswith(POSTGRES):
        raise UsageError(f"--db {shown(where)}: give a file, or a URL that begins with {POSTGRES[0]}")
    with _postgres(where) if where.startswith(POSTGRES) else _sqlite(Path(where), create) as database:
        yield database


@contextmanager
def _sqlite(path: Path, create: bool) -> Iterator[Database]:
    if path.is_dir():
        raise UsageError(f"{path} is a folder: --db takes a SQLite file, such as {path / 'history.sqlite'}")
    if not create and not path.is_file():
        raise UsageError(f"{path}: there is no such history; `python -m runner history add RUN --db {path}` makes it")
    connection = None
    try:
        connection = sqlite3.connect(path, timeout=60)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -64000")  # 64 MB: an index of a million rows stays in memory
        with connection:
            yield Sqlite(connection)
    except sqlite3.Error as error:
        raise UsageError(f"{path} can't be used as a history: {error}") from error
    finally:
        if connection is not None:
            connection.close()


@contextmanager
def _postgres(url: str) -> Iterator[Database]:
    try:
        import psycopg
    except ImportError as error:
        needed = "pip install 'torch-benchmark-runner[history]'"
        raise UsageError(f"a PostgreSQL history needs psycopg ({error}): {needed}") from error
    try:
        with psycopg.connect(url) as connection:
            yield Postgres(connection)
    except psycopg.Error as error:
        said = " ".join(str(error).split())
        raise UsageError(f"{shown(url)} can't be used as a history: {said}") from error


def shown(where: str) -> str:
    """A file or URL as it may be printed: without the password."""
    scheme, separator, rest = where.partition("://")
    account, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{account.partition(':')[0]}{at}{host}"
