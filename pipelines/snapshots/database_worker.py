"""The process that writes exports.duckdb: `python -m pipelines.snapshots.database_worker`, by database_process.py.

Protocol: one line of JSON on stdin (Task), then stdin stays open: its end means that the parent is gone. On stdout one
line of JSON per event: `table` (name, rows), at last `done`, or `failed` (kind, table, reason, column).
"""

import json
import os
import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb

from pipelines.snapshots.database_sql import (
    TableError,
    create_table,
    finish_and_close,
    names_of,
    open_writer,
    relation_of,
)
from pipelines.snapshots.database_task import TableTask, Task
from pipelines.snapshots.database_update import TooManyChangesError, update
from pipelines.system.processes import die_with_parent

_NOT_NULL = re.compile(r"NOT NULL constraint failed: (\w+)\.(\w+)")
_FULL_TEXTS = ("No space left on device", "File too large", "Disk quota exceeded", "not enough disk space")


def build(task: Task, on_table: Callable[[str, int], None]) -> None:
    """Create and fill the tables, create the views, comment on them, and leave one file without a write-ahead log.

    Every table has a connection, a thread and a transaction of its own, and DuckDB one thread of its own: an ordered
    INSERT hardly goes parallel, tables beside each other do (FACTS 2.3: 8.5 s instead of 15 to 18 s).
    No PRIMARY KEY: its index costs time and space, the key is checked before.

    Args:
        task: What to build.
        on_table: Called with name and rows when a table is complete.

    Raises:
        Exception: As DuckDB raises it, wrapped where the table is known.
    """
    with open_writer(task, threads=1) as connection:
        for table in task.tables:
            connection.execute(create_table(table))
        workers = max(1, min(len(task.tables), os.cpu_count() or 1))
        with ThreadPoolExecutor(max_workers=workers) as pool:
            fills = [pool.submit(_fill, connection.cursor(), table, on_table) for table in task.tables]
            for fill in fills:
                fill.result()
        finish_and_close(connection, task)


def _fill(connection: duckdb.DuckDBPyConnection, table: TableTask, on_table: Callable[[str, int], None]) -> None:
    names = names_of(table)
    try:
        with connection:
            connection.execute("BEGIN")
            inserted = connection.execute(
                f"INSERT INTO {relation_of(table)} ({names})"
                f" SELECT {names} FROM read_parquet(?, hive_partitioning = false)",
                [list(table.files)],
            ).fetchall()
            connection.execute("COMMIT")
    except Exception as error:
        raise TableError(table.name, error) from error
    on_table(table.name, inserted[0][0])


def _failure(error: BaseException) -> dict[str, Any]:
    """What of an error may leave this process: classes and names, never its text, which can hold row content."""
    table, cause = (error.table, error.cause) if isinstance(error, TableError) else ("", error)
    text = str(cause)
    reason, column = "", ""
    if isinstance(cause, TooManyChangesError):
        reason = "too_many_changes"
    elif any(full in text for full in _FULL_TEXTS):
        reason = "disk_full"
    elif isinstance(cause, duckdb.OutOfMemoryException):
        # Where it may spill, DuckDB says this of a full disk too.
        reason = "out_of_memory"
    elif match := _NOT_NULL.search(text):
        reason, table, column = "null", match[1], match[2]
    return {"event": "failed", "kind": type(cause).__name__, "table": table, "reason": reason, "column": column}


def _die_with(parent: int) -> None:
    die_with_parent(parent)
    threading.Thread(target=_watch_stdin, daemon=True).start()


def _watch_stdin() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def _emit(event: dict[str, Any]) -> None:
    os.write(sys.stdout.fileno(), json.dumps(event).encode() + b"\n")  # one write: lines of two threads never mix


def main() -> None:
    """Do the task that stdin gives."""
    task = Task.from_json(sys.stdin.buffer.readline())
    _die_with(task.parent)
    status = 0
    try:
        write = build if task.most_changes is None else update
        write(task, lambda name, rows: _emit({"event": "table", "table": name, "rows": rows}))
        event: dict[str, Any] = {"event": "done", "bytes": Path(task.database).stat().st_size}
    except BaseException as error:  # noqa: BLE001 - all of them are the parent's to report
        event, status = _failure(error), 1
    _emit(event)
    os._exit(status)  # without the interpreter's shutdown, which would wait for the thread that reads stdin


if __name__ == "__main__":
    main()
