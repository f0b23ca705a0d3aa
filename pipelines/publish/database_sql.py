"""SQL and errors that building and updating exports.duckdb have in common; for the writer's process only.

Belongs here: names, comments, attaching the file. Does not: what is done with the rows.
"""

import duckdb

from pipelines.publish.database_task import TableTask, Task
from pipelines.reading.sessions import CONFIG, quoted, quoted_text

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
    connection.execute(f"ATTACH {quoted_text(task.database)} AS {ALIAS} (STORAGE_VERSION '{STORAGE_VERSION}')")
    return connection


def relation_of(table: TableTask) -> str:
    """The table in SQL."""
    return f"{ALIAS}.main.{quoted(table.name)}"


def names_of(table: TableTask) -> str:
    """Its columns in SQL."""
    return ", ".join(quoted(column.name) for column in table.columns)


def comment_and_close(connection: duckdb.DuckDBPyConnection, tables: tuple[TableTask, ...]) -> None:
    """Comment on the tables, and leave one file without a write-ahead log."""
    connection.execute("BEGIN")
    for table in tables:
        connection.execute(f"COMMENT ON TABLE {relation_of(table)} IS {quoted_text(table.comment)}")
        for column in table.columns:
            place = f"{relation_of(table)}.{quoted(column.name)}"
            connection.execute(f"COMMENT ON COLUMN {place} IS {quoted_text(column.comment)}")
    connection.execute("COMMIT")
    connection.execute(f"CHECKPOINT {ALIAS}")
    connection.execute(f"DETACH {ALIAS}")
