"""SQL and errors that building and updating exports.duckdb have in common; for the writer's process only."""

from collections.abc import Iterable

import duckdb

from pipelines.snapshots.database_task import ColumnTask, InfoTask, TableTask, Task, ViewTask
from pipelines.snapshots.duckdb_connections import CONFIG, quoted, quoted_text

STORAGE_VERSION = "v1.4.0"  # the oldest DuckDB that must open the file (DESIGN 4); 2.0's own format is unreadable there
ALIAS = "exports"


class TableError(Exception):
    """DuckDB failed at one table."""

    def __init__(self, table: str, cause: BaseException) -> None:
        super().__init__(table)
        self.table = table
        self.cause = cause


def open_writer(task: Task, threads: int) -> duckdb.DuckDBPyConnection:
    """A DuckDB with the task's limits and its file attached."""
    config = {**CONFIG, "threads": threads, "memory_limit": f"{task.memory_mb}MB", "temp_directory": task.temp_folder}
    connection = duckdb.connect(":memory:", config=config)
    # Texts in lists, which can't be given a way: 3.5 instead of 5.4 s for those of 1.6 million rows, in the same room.
    # Columns that are given one keep it, and other types have no zstd.
    connection.execute("SET force_compression = 'zstd'")
    connection.execute(f"ATTACH {quoted_text(task.database)} AS {ALIAS} (STORAGE_VERSION '{STORAGE_VERSION}')")
    return connection


def relation_of(table: TableTask | ViewTask | InfoTask) -> str:
    """The table or view in SQL."""
    return f"{ALIAS}.main.{quoted(table.name)}"


def create_table(table: TableTask | InfoTask, *, or_replace: bool = False) -> str:
    """The statement that creates a table."""
    columns = ", ".join(map(_column, table.columns))
    return f"CREATE {'OR REPLACE ' if or_replace else ''}TABLE {relation_of(table)} ({columns})"


def _column(column: ColumnTask) -> str:
    compression = f" USING COMPRESSION {column.compression}" if column.compression else ""
    return f"{quoted(column.name)} {column.kind}{' NOT NULL' if column.required else ''}{compression}"


def names_of(table: TableTask) -> str:
    """Its columns in SQL."""
    return ", ".join(quoted(column.name) for column in table.columns)


def finish_and_close(connection: duckdb.DuckDBPyConnection, task: Task) -> None:
    """Create the views and what the file says of itself, comment on everything, and leave one file without a log."""
    connection.execute("BEGIN")
    if task.info is not None:
        _write_info(connection, task.info)
    for table in task.tables:
        _comment(connection, "TABLE", table, [(column.name, column.comment) for column in table.columns])
    for view in task.views:
        try:
            connection.execute(f"CREATE OR REPLACE VIEW {relation_of(view)} AS {view.query}")
            _comment(connection, "VIEW", view, view.columns)
        except duckdb.Error as error:
            raise TableError(view.name, error) from error
    connection.execute("COMMIT")
    connection.execute(f"CHECKPOINT {ALIAS}")
    connection.execute(f"DETACH {ALIAS}")


def _write_info(connection: duckdb.DuckDBPyConnection, info: InfoTask) -> None:
    try:
        # A changed copy has the row of the snapshot that it was copied from.
        connection.execute(create_table(info, or_replace=True))
        values = ", ".join(f"CAST(? AS {column.kind})" for column in info.columns)
        connection.execute(f"INSERT INTO {relation_of(info)} VALUES ({values})", list(info.values))
    except duckdb.Error as error:
        raise TableError(info.name, error) from error
    _comment(connection, "TABLE", info, [(column.name, column.comment) for column in info.columns])


def _comment(
    connection: duckdb.DuckDBPyConnection,
    what: str,
    of: TableTask | ViewTask | InfoTask,
    columns: Iterable[tuple[str, str]],
) -> None:
    connection.execute(f"COMMENT ON {what} {relation_of(of)} IS {quoted_text(of.comment)}")
    for name, comment in columns:
        connection.execute(f"COMMENT ON COLUMN {relation_of(of)}.{quoted(name)} IS {quoted_text(comment)}")
