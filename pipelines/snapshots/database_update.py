"""Brings a copy of an older exports.duckdb in line with new Parquet files, in the writer's process (DESIGN 4).

Rows are told apart by a hash of all their cells, so that only those that differ are written, not their whole segment: 1
% of a segment's rows costs 1 % of its inserts, and the file grows by as little.
"""

import os
from collections.abc import Callable

import duckdb

from pipelines.snapshots.database_sql import TableError, finish_and_close, names_of, open_writer, relation_of
from pipelines.snapshots.database_task import Replacement, TableTask, Task
from pipelines.snapshots.duckdb_connections import quoted
from pipelines.snapshots.row_sql import in_ranges, row_hash

_THREADS = 2  # each takes a share of the memory limit; hashing gains from two, deleting and inserting from none


class TooManyChangesError(Exception):
    """So many rows differ that building the file again is cheaper."""


def update(task: Task, on_table: Callable[[str, int], None]) -> None:
    """Replace the rows that differ, create views and comments again, and leave one file without a write-ahead log.

    The file is a private copy until it is verified, so a transaction a replacement is enough; one for all would hold
    the hashes of every replacement until its end.

    Args:
        task: What to update.
        on_table: Called with name and rows when a table is complete.

    Raises:
        TooManyChangesError: More rows differ than the task allows; the file is half-way.
        Exception: As DuckDB raises it, wrapped where the table is known.
    """
    most = task.most_changes or 0
    changes = 0
    with open_writer(task, min(_THREADS, os.cpu_count() or 1)) as connection:
        for table in task.tables:
            try:
                for replacement in table.replacements:
                    changes += _replace(connection, table, replacement, most - changes)
                rows = connection.execute(f"SELECT count(*) FROM {relation_of(table)}").fetchall()[0][0]
            except duckdb.Error as error:
                raise TableError(table.name, error) from error
            on_table(table.name, rows)
        finish_and_close(connection, task)


def _replace(connection: duckdb.DuckDBPyConnection, table: TableTask, part: Replacement, most: int) -> int:
    """Replace rows of one part of a table; how many were deleted and inserted.

    All columns are read once from either side. The rest goes by key, which names a row once on either side.
    """
    target, names, key = relation_of(table), names_of(table), ", ".join(quoted(name) for name in table.key)
    row = row_hash({column.name: column.kind for column in table.columns})
    condition = "true" if part.ranges is None else in_ranges(part.ranges)
    old = f"(SELECT rowid AS place, {key} FROM {target} WHERE {condition} AND rowid <= ?)"
    last = _one(connection, f"SELECT coalesce(max(rowid), -1) FROM {target}")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE before AS SELECT {row} AS h FROM {target} WHERE {condition}")
    files = list(part.files)
    source = "read_parquet(?, hive_partitioning = false)"
    now = _one(connection, f"SELECT count(*) FROM {source}", files) if files else 0
    inserted = deleted = 0
    connection.execute("BEGIN")
    if files:
        inserted = _one(
            connection,
            f"INSERT INTO {target} ({names}) SELECT {names} FROM {source} WHERE {row} NOT IN (SELECT h FROM before)",
            files,
        )
    if inserted > most:
        raise TooManyChangesError
    if inserted:
        new = f"(SELECT {key} FROM {target} WHERE {condition} AND rowid > ?)"
        deleted = _delete(connection, target, f"{old} SEMI JOIN {new} USING ({key})", last, last)
    kept = _one(connection, "SELECT count(*) FROM before") - deleted
    if kept != now - inserted:  # rows whose key is gone
        gone = f"{old} ANTI JOIN (SELECT {key} FROM {source}) USING ({key})"
        deleted += _delete(connection, target, gone, last, files) if files else _delete(connection, target, old, last)
    if inserted + deleted > most:
        raise TooManyChangesError
    connection.execute("COMMIT")
    return inserted + deleted


def _delete(connection: duckdb.DuckDBPyConnection, target: str, places: str, *parameters: object) -> int:
    return _one(connection, f"DELETE FROM {target} WHERE rowid IN (SELECT place FROM {places})", *parameters)


def _one(connection: duckdb.DuckDBPyConnection, statement: str, *parameters: object) -> int:
    """The one number that a statement answers: rows that it changed, or what it selects."""
    return int(connection.execute(statement, list(parameters)).fetchall()[0][0])
