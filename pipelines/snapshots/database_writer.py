"""Writes exports.duckdb, in a process of its own: builds it, or brings a copy of an older one in line (DESIGN 4).

Its task is plain data: names, texts and paths. The contracts would bring Polars into the process.
"""

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import duckdb

from pipelines.contracts.segments import KeyBounds
from pipelines.contracts.version import STORAGE_VERSION
from pipelines.snapshots.duckdb_connections import CONFIG, in_ranges, quoted, quoted_text, row_hash

_ALIAS = "exports"
_SOURCE = "read_parquet(?, hive_partitioning = false)"
# Of an update: each takes a share of the memory limit; hashing gains from two, deleting and inserting from none.
_THREADS = 2
_NOT_NULL = re.compile(r"NOT NULL constraint failed: (\w+)\.(\w+)")
_FULL_TEXTS = ("No space left on device", "File too large", "Disk quota exceeded", "not enough disk space")
OnTable = Callable[[str, int], None]  # called with name and rows of a table that is complete


@dataclass(frozen=True)
class ColumnTask:
    """A column: its name, comment, DuckDB type, whether it refuses NULL, its compression ("": DuckDB decides)."""

    name: str
    comment: str
    kind: str
    required: bool = False
    compression: str = ""


@dataclass(frozen=True)
class Replacement:
    """Rows to bring in line with Parquet files.

    Attributes:
        column: The column that the table is divided by.
        ranges: Ranges of it, ascending (segments.KeyBounds); None: every row of the table.
        files: The files that hold these rows now (as read_parquet takes them); none: the rows are gone.
    """

    column: str
    ranges: tuple[KeyBounds, ...] | None
    files: tuple[str, ...]


@dataclass(frozen=True)
class TableTask:
    """A table: to create and fill from Parquet files in that order, or to bring in line with some of them.

    Attributes:
        key: Names of the columns of its primary key.
        files: All its Parquet files (as read_parquet takes them), where it is built.
        replacements: What to replace of it, where it is updated.
        values: Of its one row, as text, where it is written again in every file.
        query: Where it is a view: its SELECT over unqualified tables.
    """

    name: str
    comment: str
    columns: tuple[ColumnTask, ...]
    key: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    replacements: tuple[Replacement, ...] = ()
    values: tuple[str, ...] = ()
    query: str = ""


@dataclass(frozen=True)
class Task:
    """A database to build or to update.

    Attributes:
        database: The file; it must not exist if it is built, and holds all tables if it is updated.
        memory_mb: Most memory that DuckDB takes, MB.
        max_changes: Update it, and give up beyond so many rows that are deleted or inserted; None: build it.
        info: What it says of itself; None: nothing.
    """

    database: str
    temp_folder: str
    memory_mb: int
    tables: tuple[TableTask, ...]
    max_changes: int | None = None
    views: tuple[TableTask, ...] = ()
    info: TableTask | None = None


@dataclass(frozen=True)
class Failure:
    """What of an error may leave the process: classes and names, never its text, which can hold row content."""

    kind: str
    table: str = ""
    reason: str = ""
    column: str = ""


class TableError(Exception):
    """DuckDB failed at one table."""

    def __init__(self, table: str, cause: Exception) -> None:
        super().__init__(table)
        self.table = table
        self.cause = cause


class TooManyChangesError(Exception):
    """So many rows differ that building the file again is cheaper."""


def serve(tasks: Iterator[Task], answer: Callable[[tuple[str, int] | Failure | None], None]) -> None:
    """The process: name and rows of each table of one task as it is complete, then what `write` returns."""
    answer(write(next(tasks), lambda name, rows: answer((name, rows))))


def write(task: Task, on_table: OnTable) -> Failure | None:
    """Build or update the file, with its views and comments, and leave one file without a write-ahead log.

    Returns:
        Why it failed, the file half-way; None: it did not.
    """
    try:
        if task.max_changes is None:
            _build(task, on_table)
        else:
            _update(task, task.max_changes, on_table)
    except Exception as error:  # noqa: BLE001  all of them are the caller's to report
        return _failure(error)
    return None


def _build(task: Task, on_table: OnTable) -> None:
    """Create and fill the tables.

    Every table has a connection, a thread and a transaction of its own, and DuckDB one thread of its own: an ordered
    INSERT hardly goes parallel, several tables at a time do (FACTS 2.3: 8.5 s instead of 15 to 18 s).
    No PRIMARY KEY: its index costs time and space, the key is checked before.
    """
    with _open(task, threads=1) as connection:
        for table in task.tables:
            connection.execute(_create(table))
        with ThreadPoolExecutor(max(1, min(len(task.tables), os.cpu_count() or 1))) as pool:
            fills = [pool.submit(_fill, connection.cursor(), table, on_table) for table in task.tables]
            for fill in fills:
                fill.result()
        _finish(connection, task)


def _fill(connection: duckdb.DuckDBPyConnection, table: TableTask, on_table: OnTable) -> None:
    names = ", ".join(quoted(column.name) for column in table.columns)
    insert = f"INSERT INTO {_relation(table)} ({names}) SELECT {names} FROM {_SOURCE}"
    try:
        with connection:
            connection.execute("BEGIN")
            rows = _one(connection, insert, list(table.files))
            connection.execute("COMMIT")
    except Exception as error:
        raise TableError(table.name, error) from error
    on_table(table.name, rows)


def _update(task: Task, most: int, on_table: OnTable) -> None:
    """Replace the rows that differ.

    Rows are compared by a hash of all their cells, so that only those that differ are written, not their whole
    segment: 1 % of a segment's rows costs 1 % of its inserts, and the file grows by as little. The file is a private
    copy until it is verified, so a transaction a replacement is enough; one for all would hold the hashes of every
    replacement until its end.
    """
    with _open(task, min(_THREADS, os.cpu_count() or 1)) as connection:
        for table in task.tables:
            try:
                for replacement in table.replacements:
                    most -= _replace(connection, table, replacement, most)
                rows = _one(connection, f"SELECT count(*) FROM {_relation(table)}")
            except duckdb.Error as error:
                raise TableError(table.name, error) from error
            on_table(table.name, rows)
        _finish(connection, task)


def _replace(connection: duckdb.DuckDBPyConnection, table: TableTask, part: Replacement, most: int) -> int:
    """Replace rows of one part of a table; how many were deleted and inserted.

    All columns are read once from either side. The rest goes by key, which names a row once on either side.
    """
    target = _relation(table)
    names = ", ".join(quoted(column.name) for column in table.columns)
    key = ", ".join(map(quoted, table.key))
    row = row_hash({column.name: column.kind for column in table.columns})
    condition = "true" if part.ranges is None else in_ranges(part.column, part.ranges)
    old = f"(SELECT rowid AS place, {key} FROM {target} WHERE {condition} AND rowid <= ?)"
    last = _one(connection, f"SELECT coalesce(max(rowid), -1) FROM {target}")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE before AS SELECT {row} AS h FROM {target} WHERE {condition}")
    files = list(part.files)
    now = _one(connection, f"SELECT count(*) FROM {_SOURCE}", files) if files else 0
    inserted = deleted = 0
    connection.execute("BEGIN")
    if files:
        changed = f"SELECT {names} FROM {_SOURCE} WHERE {row} NOT IN (SELECT h FROM before)"
        inserted = _one(connection, f"INSERT INTO {target} ({names}) {changed}", files)
    if inserted > most:
        raise TooManyChangesError
    if inserted:
        new = f"(SELECT {key} FROM {target} WHERE {condition} AND rowid > ?)"
        deleted = _delete(connection, target, f"{old} SEMI JOIN {new} USING ({key})", last, last)
    if _one(connection, "SELECT count(*) FROM before") - deleted != now - inserted:  # rows whose key is gone
        gone = f"{old} ANTI JOIN (SELECT {key} FROM {_SOURCE}) USING ({key})"
        deleted += _delete(connection, target, gone, last, files) if files else _delete(connection, target, old, last)
    if inserted + deleted > most:
        raise TooManyChangesError
    connection.execute("COMMIT")
    return inserted + deleted


def _open(task: Task, threads: int) -> duckdb.DuckDBPyConnection:
    """A DuckDB with the task's limits and its file attached."""
    config = {**CONFIG, "threads": threads, "memory_limit": f"{task.memory_mb}MB", "temp_directory": task.temp_folder}
    connection = duckdb.connect(":memory:", config=config)
    # Texts in lists, which can't be given a way: 3.5 instead of 5.4 s for those of 1.6 million rows, in the same room.
    # Columns that are given one keep it, and other types have no zstd.
    connection.execute("SET force_compression = 'zstd'")
    connection.execute(f"ATTACH {quoted_text(task.database)} AS {_ALIAS} (STORAGE_VERSION '{STORAGE_VERSION}')")
    return connection


def _finish(connection: duckdb.DuckDBPyConnection, task: Task) -> None:
    """Create the views and what the file says of itself, comment on everything, and close the file."""
    connection.execute("BEGIN")
    if (info := task.info) is not None:
        try:
            # A changed copy has the row of the snapshot that it was copied from.
            connection.execute(_create(info))
            cells = ", ".join(f"CAST(? AS {column.kind})" for column in info.columns)
            connection.execute(f"INSERT INTO {_relation(info)} VALUES ({cells})", list(info.values))
        except duckdb.Error as error:
            raise TableError(info.name, error) from error
    for table in (*task.tables, *([] if info is None else [info])):
        _comment(connection, "TABLE", table)
    for view in task.views:
        try:
            connection.execute(f"CREATE OR REPLACE VIEW {_relation(view)} AS {view.query}")
            _comment(connection, "VIEW", view)
        except duckdb.Error as error:
            raise TableError(view.name, error) from error
    connection.execute("COMMIT")
    connection.execute(f"CHECKPOINT {_ALIAS}")
    connection.execute(f"DETACH {_ALIAS}")


def _comment(connection: duckdb.DuckDBPyConnection, what: str, of: TableTask) -> None:
    connection.execute(f"COMMENT ON {what} {_relation(of)} IS {quoted_text(of.comment)}")
    for column in of.columns:
        name = f"{_relation(of)}.{quoted(column.name)}"
        connection.execute(f"COMMENT ON COLUMN {name} IS {quoted_text(column.comment)}")


def _create(table: TableTask) -> str:
    columns = ", ".join(
        f"{quoted(column.name)} {column.kind}{' NOT NULL' if column.required else ''}"
        f"{f' USING COMPRESSION {column.compression}' if column.compression else ''}"
        for column in table.columns
    )
    return f"CREATE OR REPLACE TABLE {_relation(table)} ({columns})"


def _relation(of: TableTask) -> str:
    return f"{_ALIAS}.main.{quoted(of.name)}"


def _delete(connection: duckdb.DuckDBPyConnection, target: str, places: str, *parameters: object) -> int:
    return _one(connection, f"DELETE FROM {target} WHERE rowid IN (SELECT place FROM {places})", *parameters)


def _one(connection: duckdb.DuckDBPyConnection, statement: str, *parameters: object) -> int:
    """The one number that a statement answers: rows that it changed, or what it selects."""
    return int(connection.execute(statement, list(parameters)).fetchall()[0][0])


def _failure(error: Exception) -> Failure:
    table, cause = (error.table, error.cause) if isinstance(error, TableError) else ("", error)
    reason, column, text = "", "", str(cause)
    if isinstance(cause, TooManyChangesError):
        reason = "too_many_changes"
    elif any(full in text for full in _FULL_TEXTS):
        reason = "disk_full"
    elif "Too many open files" in text:
        reason = "too_many_files"
    elif isinstance(cause, duckdb.OutOfMemoryException):  # where it may spill, DuckDB says this of a full disk too
        reason = "out_of_memory"
    elif match := _NOT_NULL.search(text):
        reason, table, column = "null", match[1], match[2]
    return Failure(type(cause).__name__, table, reason, column)
