"""A snapshot's DuckDB file, open for many readers at a time: a cursor a reader, one limit of memory for all of them.

While it is open the snapshot stays readable, even when its folder is cleared away.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Self

import duckdb

from pipelines.errors import QueryStoppedError, SnapshotError
from pipelines.query.bounded import DATABASE, BoundedSession, open_attached, unreadable
from pipelines.query.query_memory import QueryMemory
from pipelines.snapshots.opening import Snapshot


class Reader(BoundedSession):
    """One reader's cursor. Of use to one thread at a time; `stop` may come from any.

    Each question to it raises, besides what BoundedSession says, QueryStoppedError where it was stopped, and
    SnapshotError instead of duckdb.Error where the file can't be read.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, database: "SnapshotDatabase") -> None:
        super().__init__(connection, database.memory, database.parsed)
        self.snapshot = database.snapshot
        self._columns = database.columns
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def columns_of(self, table: str) -> Mapping[str, str]:
        """DuckDB types by name of the columns that a table has in this snapshot.

        Raises:
            SnapshotError: The snapshot has no such table: an older version made it.
        """
        if table not in self._columns:
            raise SnapshotError(
                f"Snapshot {self.snapshot.manifest.id} has no table {table}", fix="export again with this version"
            )
        return self._columns[table]

    def stop(self) -> None:
        """End the running statement and refuse all later ones."""
        self._stopped.set()
        self._cursor.interrupt()

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    @contextmanager
    def _room(self, *, alone: bool = False) -> Iterator[None]:
        try:
            with super()._room(alone=alone):
                yield
        except duckdb.InterruptException as error:
            raise _stopped() from error
        except duckdb.Error as error:
            raise unreadable(self.snapshot, error) from error

    def _check(self) -> None:
        if self.is_stopped:
            raise _stopped()


class SnapshotDatabase:
    """A snapshot's DuckDB file, open. Readers must be closed before it, else the file stays open with them."""

    def __init__(self, snapshot: Snapshot, session: duckdb.DuckDBPyConnection, memory: QueryMemory) -> None:
        self.snapshot = snapshot
        self.memory = memory
        self.parsed: dict[str, duckdb.Statement] = {}
        self._session = session
        columns: dict[str, dict[str, str]] = {}
        found = session.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE database_name = $1"
            " ORDER BY table_name, column_index",
            [DATABASE],
        )
        for table, column, kind in found.fetchall():
            columns.setdefault(table, {})[column] = kind
        self.columns: Mapping[str, Mapping[str, str]] = columns
        memory.add(session)

    def reader(self) -> Reader:
        """A reader of its own, to be closed; 10 microseconds."""
        return Reader(self._session, self)

    def close(self) -> None:
        """Let the file go."""
        self.memory.remove(self._session)
        self._session.close()


def open_database(snapshot: Snapshot, memory: QueryMemory) -> SnapshotDatabase:
    """Open a snapshot's DuckDB file for many readers, about 20 ms.

    Args:
        memory: What its queries and those of other snapshots may take together; nothing is spilled to disk.

    Raises:
        SnapshotError: The file can't be read.
    """
    try:
        session = open_attached(snapshot.database_path, memory.duckdb_mb)
        try:
            return SnapshotDatabase(snapshot, session, memory)
        except BaseException:
            session.close()
            raise
    except duckdb.Error as error:
        raise unreadable(snapshot, error) from error


def _stopped() -> QueryStoppedError:
    return QueryStoppedError(
        "The query was stopped",
        found="the time is over, or nobody waits for the answer",
        fix="ask for less, or try again later",
    )
