"""A snapshot's DuckDB file in a session whose answers are bounded: what is fetched is counted before it is much."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from sys import getsizeof
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl

from pipelines.errors import AnswerTooLargeError, QueryError, SnapshotError
from pipelines.query.batch.expressions import MACROS, RARE_REAL, real_text
from pipelines.query.query_memory import QueryMemory
from pipelines.query.readable_columns import readable_frame
from pipelines.snapshots.duckdb_connections import open_scratch, quoted_text
from pipelines.snapshots.opening import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa  # 25 MB of memory, which only Parquet needs

# Rows that are fetched before they are counted.
_STEP = 16
_ARROW_STEP = 1_000
_TEXT = "VARCHAR"
_OUT_OF_MEMORY = "Out of Memory Error"
# The name that SQL knows the file by.
DATABASE = "published"


class DoesNotFitError(Exception):
    """Rows need more memory than they may take; half of them may fit.

    Attributes:
        is_in_duckdb: DuckDB needs more to read them, perhaps because of a large row near them; else they are too many
            bytes themselves.
    """

    def __init__(self, *, is_in_duckdb: bool) -> None:
        super().__init__()
        self.is_in_duckdb = is_in_duckdb


class BoundedSession:
    """Asks queries of one cursor. Of use to one thread at a time."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        memory: QueryMemory,
        parsed: dict[str, duckdb.Statement] | None = None,
    ) -> None:
        """Open a cursor.

        Args:
            connection: Where the file is open, which `memory` knows.
            parsed: What `rows` was asked for, by its text: sessions that share it parse a query once.
        """
        self.memory = memory
        self._connection = connection
        self._cursor = connection.cursor()
        self._parsed = {} if parsed is None else parsed

    def rows(self, sql: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """All rows of a query.

        Args:
            parameters: Values of its `$name`.

        Raises:
            AnswerTooLargeError: It does not fit in the memory that there is, even while no other query runs.
            duckdb.Error: DuckDB refuses it.
        """
        memory = self.memory
        try:
            with self._room():
                # Parsing 24 columns takes 0.3 ms of the 1.5 that one domain's candidates take.
                statement = self._parsed.get(sql) or self._cursor.extract_statements(sql)[0]
                self._parsed[sql] = statement
                return self._fetch(statement, parameters, memory.answer_bytes)
        except DoesNotFitError:
            pass
        try:
            with self._room(alone=True):
                # Asked before: a row of any size is copied several times before it can be counted.
                if self._bytes_of(sql, parameters) <= memory.alone_bytes:
                    return self._fetch(sql, parameters, memory.alone_bytes)
        except DoesNotFitError:
            pass
        raise too_large(memory)

    def chunk(self, sql: str, parameters: Mapping[str, object], *, alone: bool = False) -> list[tuple[Any, ...]]:
        """All rows of a query for a part of a batch.

        Args:
            alone: While no other query runs: then DuckDB has more memory.

        Raises:
            DoesNotFitError: They need more memory than a part of a batch may take.
            duckdb.Error: DuckDB refuses it.
        """
        with self._room(alone=alone):
            return self._fetch(sql, parameters, self.memory.chunk_bytes)

    def numbers(self, sql: str, parameters: Mapping[str, object]) -> dict[str, Any]:
        """Columns of numbers, as arrays: of queries whose rows are limited.

        Raises:
            AnswerTooLargeError: DuckDB's part of the memory does not suffice.
            duckdb.Error: DuckDB refuses it.
        """
        memory = self.memory
        for alone in (False, True):
            with self._room(alone=alone):
                try:
                    found: dict[str, Any] = self._execute(sql, parameters).fetchnumpy()
                except duckdb.OutOfMemoryException:
                    continue
                return found
        raise too_large(memory)

    def table(
        self, sql: str, parameters: Mapping[str, object], *, alone: bool = False, is_least: bool = False
    ) -> "pa.Table":
        """All rows of a query for a part of a batch, with their types.

        Args:
            is_least: Less of them can't be asked for: then they may be more bytes.

        Raises:
            DoesNotFitError: They are too many.
            duckdb.Error: DuckDB refuses it.
        """
        import pyarrow as pa  # noqa: PLC0415

        max_bytes = self.memory.alone_bytes if alone and is_least else self.memory.chunk_bytes
        with self._room(alone=alone):
            try:
                if alone and self._bytes_of(sql, parameters) > max_bytes:
                    raise DoesNotFitError(is_in_duckdb=False)
                self._check()
                relation = self._cursor.sql(sql, params=dict(parameters))
                reader: pa.RecordBatchReader = relation.to_arrow_reader(_ARROW_STEP)
                found, size = [], 0
                for batch in reader:
                    found.append(batch)
                    size += batch.nbytes
                    if size > max_bytes:
                        raise DoesNotFitError(is_in_duckdb=False)
                return pa.Table.from_batches(found, reader.schema)
            except duckdb.OutOfMemoryException as error:
                raise DoesNotFitError(is_in_duckdb=True) from error
            except OSError as error:  # as Arrow passes on what DuckDB raises after the first rows
                if str(error).startswith(_OUT_OF_MEMORY):
                    raise DoesNotFitError(is_in_duckdb=True) from error
                raise duckdb.OperationalError from error

    def close(self) -> None:
        """Let the cursor go."""
        self._cursor.close()

    @contextmanager
    def _room(self, *, alone: bool = False) -> Iterator[None]:
        """The block asks while others do, or alone."""
        with self.memory.alone(self._check, self._connection) if alone else self.memory.shared(self._check):
            yield

    def _check(self) -> None:
        """Called before each query and while one waits: what it raises ends the wait."""

    def _execute(self, sql: str | duckdb.Statement, parameters: Mapping[str, object]) -> duckdb.DuckDBPyConnection:
        self._check()
        return self._cursor.execute(sql, dict(parameters))

    def _fetch(
        self, sql: str | duckdb.Statement, parameters: Mapping[str, object], max_bytes: int
    ) -> list[tuple[Any, ...]]:
        try:
            cursor = self._execute(sql, parameters)
            rows: list[tuple[Any, ...]] = []
            size = 0
            while some := cursor.fetchmany(_STEP):
                size += sum(map(_size_of, some))
                if size > max_bytes:
                    self._cursor.execute("SELECT 1")  # lets the rest of the answer go
                    raise DoesNotFitError(is_in_duckdb=False)
                rows += some
        except duckdb.OutOfMemoryException as error:
            raise DoesNotFitError(is_in_duckdb=True) from error
        return rows

    def _bytes_of(self, sql: str, parameters: Mapping[str, object]) -> int:
        """Bytes of the texts of an answer, of which none leaves DuckDB."""
        try:
            kinds = [str(column[1]) for column in self._execute(f"FROM ({sql}) LIMIT 0", parameters).description or []]
            names = [f"c{number}" for number in range(len(kinds))]
            sizes = [
                f"coalesce(strlen({name if kind == _TEXT else f'{name}::{_TEXT}'}), 0)"
                for name, kind in zip(names, kinds, strict=True)
                if kind.startswith(_TEXT)
            ]
            size = f"coalesce(sum({' + '.join(sizes) or '0'}), 0)"
            found = self._execute(f"SELECT {size} FROM ({sql}) AS t({', '.join(names)})", parameters).fetchall()
        except duckdb.OutOfMemoryException as error:
            raise DoesNotFitError(is_in_duckdb=True) from error
        return int(found[0][0])


def too_large(memory: QueryMemory, what: str = "The answer needs more memory than there is") -> AnswerTooLargeError:
    """What to say of an answer that does not fit."""
    return AnswerTooLargeError(
        what,
        expected=f"rows that fit in {memory.setting} MB, with those that lie beside them in the file",
        found="more, or one of them is very large",
        fix="ask for less, or set a larger limit; the snapshot's Parquet files have the rows too",
    )


def unreadable(snapshot: Snapshot, error: duckdb.Error) -> SnapshotError:
    """What to say where DuckDB can't read a snapshot's file."""
    return SnapshotError(
        f"{snapshot.database_path} can't be read",
        found=type(error).__name__,
        fix="check that no program holds it open for writing, verify the snapshot, or export again",
    )


def _size_of(row: Sequence[object]) -> int:
    size = 0
    for value in row:
        size += getsizeof(value)
        if type(value) is list:
            size += sum(map(getsizeof, value))
    return size


def open_attached(database: Path, memory_mb: int) -> duckdb.DuckDBPyConnection:
    """Attach a file for reading, about 20 ms.

    Args:
        memory_mb: Most memory that DuckDB takes, MB; nothing is spilled to disk.

    Returns:
        The connection; the file is its database `published`.

    Raises:
        duckdb.Error: The file can't be read.
    """
    session = open_scratch(memory_mb)
    try:
        session.execute(f"ATTACH {quoted_text(str(database))} AS {DATABASE} (READ_ONLY)")
        # One thread a query: what is asked at a time is too small for more, and servers ask several things at a time.
        session.execute("SET threads = 1")
        session.execute("SET enable_external_access = false")
        session.create_function(RARE_REAL, real_text, ["FLOAT"], "VARCHAR")
        for macro in MACROS:
            session.execute(macro)
    except BaseException:
        session.close()
        raise
    return session


def run_query(snapshot: Snapshot, query: str, max_rows: int) -> pl.DataFrame:
    """Run one query on the DuckDB file of a snapshot.

    Args:
        query: SQL of DuckDB; the file is open read-only.

    Raises:
        SnapshotError: The file can't be opened.
        QueryError: DuckDB refuses the query; its words are passed on, they are about the person's own text.
    """
    with snapshot.connect() as connection:
        try:
            relation = connection.sql(query)
            if relation is None:
                raise QueryError("That statement has no result", expected="a query", fix="begin it with SELECT or FROM")
            return readable_frame(relation.limit(max_rows))
        except duckdb.Error as error:
            raise QueryError("DuckDB refuses the query", found=str(error).strip(), fix="correct the SQL") from None
