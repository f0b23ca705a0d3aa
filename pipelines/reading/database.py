"""A snapshot's DuckDB file, open for many readers at a time: one DuckDB with one memory limit, a cursor a reader.

Belongs here: opening and closing, running a statement and stopping it, a batch over a reader. Does not: queries
(queries.py). While it is open the snapshot stays readable, even when its folder is cleared away.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Any, Self, cast

import duckdb
import numpy as np

from pipelines.contracts.tables import DOMAIN_EXPORTS, candidate_exports
from pipelines.errors import QueryStoppedError, SnapshotError
from pipelines.reading.attached import DATABASE, open_attached
from pipelines.reading.batch.batches import DOMAINS, Batch
from pipelines.reading.snapshots import Snapshot

# For an answer that does not fit in what there is.
_LARGE_ANSWER_MB = 256
_MORE_MEMORY_TIMES = 2
_CANDIDATES = candidate_exports(include_full_data=False).name
_OF_THE_DOMAIN = ("domain_id", "domain_hash", "domain", "batch_id")


class Reader:
    """One reader's cursor. Of use to one thread at a time; `stop` may come from any."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, database: "SnapshotDatabase") -> None:
        self.snapshot = database.snapshot
        self._cursor = cursor
        self._database = database
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        """It is open already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def columns_of(self, table: str) -> Mapping[str, str]:
        """DuckDB types by name of the columns that a table has in this snapshot.

        Raises:
            SnapshotError: The snapshot has no such table: an older version made it.
        """
        if table not in self._database.columns:
            raise SnapshotError(
                f"Snapshot {self.snapshot.manifest.id} has no table {table}", fix="export again with this version"
            )
        return self._database.columns[table]

    def execute(self, sql: str, parameters: object = None) -> duckdb.DuckDBPyConnection:
        """Run a statement, unless the reader was stopped.

        Raises:
            QueryStoppedError: It was stopped.
            duckdb.Error: DuckDB refuses it.
        """
        self._require_going()
        return self._cursor.execute(sql, parameters)

    def sql(self, query: str, *, params: object = None) -> duckdb.DuckDBPyRelation:
        """A query as a relation; otherwise as `execute`."""
        self._require_going()
        return self._cursor.sql(query, params=params)

    def rows(self, sql: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """All rows of a query.

        Args:
            sql: The query.
            parameters: Values of its `$name`.

        Raises:
            QueryStoppedError: It was stopped, or needs more memory than there is.
            SnapshotError: The file can't be read.
        """
        try:
            with ExitStack() as memory:
                for _ in range(_MORE_MEMORY_TIMES):
                    try:
                        return self.execute(sql, dict(parameters)).fetchall()
                    except duckdb.OutOfMemoryException:
                        # Texts are of any length: a page of rows may take more than the memory of usual ones. And all
                        # readers share it: what one of them was given more, another may have taken meanwhile.
                        memory.enter_context(self._database.more_memory(_LARGE_ANSWER_MB))
                return self.execute(sql, dict(parameters)).fetchall()
        except (duckdb.InterruptException, duckdb.OutOfMemoryException) as error:
            raise _stopped(type(error).__name__) from error
        except duckdb.Error as error:
            raise _unreadable(self.snapshot, error) from error

    def stop(self) -> None:
        """End the running statement and refuse all later ones."""
        self._stopped.set()
        self._cursor.interrupt()

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    def close(self) -> None:
        """Let the cursor go."""
        self._cursor.close()

    def open_batch(self, batch_id: str) -> Batch:
        """A batch that is read through this reader, without opening the file anew.

        Args:
            batch_id: Its id. Of an unknown one the batch has no rows: look it up before.
        """
        try:
            found = self.execute(
                f"SELECT domain_id, gleif_candidate_count FROM {DOMAINS} WHERE batch_id = $batch_id",
                {"batch_id": batch_id},
            ).fetchnumpy()
        except (duckdb.InterruptException, duckdb.OutOfMemoryException) as error:
            raise _stopped(type(error).__name__) from error
        except duckdb.Error as error:
            raise _unreadable(self.snapshot, error) from error
        ids = np.asarray(found["domain_id"], np.int64)
        order = np.argsort(ids, kind="stable")
        candidates = self.columns_of(_CANDIDATES)
        return Batch(
            snapshot=self.snapshot,
            batch_id=batch_id,
            domain_ids=ids[order],
            candidate_counts=np.asarray(found["gleif_candidate_count"], np.int64)[order],
            domain_columns=self.columns_of(DOMAIN_EXPORTS.name),
            candidate_columns={name: kind for name, kind in candidates.items() if name not in _OF_THE_DOMAIN},
            # What a batch asks of its session is what a reader has: so that a stopped one goes no further.
            _session=cast("duckdb.DuckDBPyConnection", self),
        )

    def _require_going(self) -> None:
        if self._stopped.is_set():
            raise _stopped("the time is over, or nobody waits for the answer")


class SnapshotDatabase:
    """A snapshot's DuckDB file, open. Readers must be closed before it, else the file stays open with them."""

    def __init__(self, snapshot: Snapshot, session: duckdb.DuckDBPyConnection, memory_mb: int) -> None:
        self.snapshot = snapshot
        self._session = session
        self._memory_mb = memory_mb
        self._memory_lock = threading.Lock()
        columns: dict[str, dict[str, str]] = {}
        found = session.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE database_name = $1"
            " ORDER BY table_name, column_index",
            [DATABASE],
        )
        for table, column, kind in found.fetchall():
            columns.setdefault(table, {})[column] = kind
        self.columns: Mapping[str, Mapping[str, str]] = columns

    def reader(self) -> Reader:
        """A reader of its own, to be closed; 10 microseconds."""
        return Reader(self._session.cursor(), self)

    @contextmanager
    def batch_reader(self, memory_mb: int) -> Iterator[Reader]:
        """A reader for a batch: it brings memory of its own, so that batches do not take it from each other."""
        with self.more_memory(memory_mb), self.reader() as reader:
            yield reader

    @contextmanager
    def more_memory(self, megabytes: int) -> Iterator[None]:
        """Raise the limit of all readers together until the block ends."""
        self._change_memory(megabytes)
        try:
            yield
        finally:
            self._change_memory(-megabytes)

    def close(self) -> None:
        """Let the file go."""
        self._session.close()

    def _change_memory(self, megabytes: int) -> None:
        with self._memory_lock:
            self._memory_mb += megabytes
            with suppress(duckdb.Error), self._session.cursor() as cursor:  # more than the new limit may be in use
                cursor.execute(f"SET memory_limit = '{self._memory_mb}MB'")


def open_database(snapshot: Snapshot, memory_mb: int) -> SnapshotDatabase:
    """Open a snapshot's DuckDB file for many readers, about 20 ms.

    Args:
        snapshot: The snapshot.
        memory_mb: Most memory of all its readers together, MB, batches aside; nothing is spilled to disk.

    Raises:
        SnapshotError: The file can't be read.
    """
    try:
        session = open_attached(snapshot.database_path, memory_mb)
    except duckdb.Error as error:
        raise _unreadable(snapshot, error) from error
    try:
        return SnapshotDatabase(snapshot, session, memory_mb)
    except duckdb.Error as error:
        session.close()
        raise _unreadable(snapshot, error) from error
    except BaseException:
        session.close()
        raise


def _stopped(why: str) -> QueryStoppedError:
    return QueryStoppedError("The query was stopped", found=why, fix="ask for less, or try again later")


def _unreadable(snapshot: Snapshot, error: duckdb.Error) -> SnapshotError:
    return SnapshotError(
        f"{snapshot.database_path} can't be read",
        found=type(error).__name__,
        fix="verify the snapshot, or export again",
    )
