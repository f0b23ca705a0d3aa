"""exports.duckdb, built from a snapshot's Parquet files or from an older file (DESIGN 4, FACTS 2.3)."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.contracts.columns import Storage
from pipelines.contracts.records import FileRecord
from pipelines.contracts.segments import join_bounds
from pipelines.contracts.tables import Table
from pipelines.contracts.views import INFO_COLUMNS, INFO_DESCRIPTION, SNAPSHOT_INFO, SnapshotInfo, View, views_of
from pipelines.errors import PublishError
from pipelines.snapshots.database_writer import (
    ColumnTask,
    Failure,
    Replacement,
    TableTask,
    Task,
    serve,
    write,
)
from pipelines.snapshots.duckdb_connections import literal_path
from pipelines.snapshots.table_changes import TableChanges
from pipelines.system.child import ChildEndedError, child_process
from pipelines.system.files import DISK_FULL_FIX, sync_file

DEFAULT_MEMORY_MB = 256  # 200 to 250 MB are enough for 4.7 million candidates; the process then takes about 340 MB
_SPILL = ".duckdb_spill"
# Texts that hardly repeat: zstd takes two thirds of the time of dict_fsst, which DuckDB would choose, and a fifth more
# room for names; of documents half of the time and of the room. Keys are not compressed: 4.7 million LEI codes take a
# third of the time and 114 MB, not 71; a search for one reads no dictionary. Texts in lists: open_writer.
_COMPRESSION = {Storage.KEY: "uncompressed", Storage.TEXT: "zstd", Storage.CODE: "dict_fsst", None: ""}
# Hashes of so many rows are in the writer's memory at a time: 24 bytes each.
_ROWS_PER_REPLACEMENT = 1_000_000


@dataclass(frozen=True)
class WriterOptions:
    """How the file is written.

    Attributes:
        memory_mb: Most memory that DuckDB takes, MB; beyond it spills to a hidden folder next to the file.
        on_table: Called with name and rows of each table that is complete.
        keep_open: File descriptors that the process inherits: a lock that it holds until it has ended too.
        on_stderr: Called with what it wrote to standard error, described without row content, where it succeeded.
        in_process: Write in this process: for tests of something else, which half a second each is worth much to.
    """

    memory_mb: int = DEFAULT_MEMORY_MB
    on_table: Callable[[str, int], None] = lambda _name, _rows: None
    keep_open: tuple[int, ...] = ()
    on_stderr: Callable[[str], None] = lambda _: None
    in_process: bool = False


def build_database(
    database: Path,
    tables: Sequence[Table],
    files: Mapping[str, Sequence[Path]],
    options: WriterOptions | None = None,
    *,
    info: SnapshotInfo | None = None,
) -> dict[str, int]:
    """Build a DuckDB file of the tables, in the order of their files, and their views; on disk when it returns.

    Args:
        database: The file to build, in an existing folder; an older one there is removed.
        files: Parquet files of each in name order, by table name.
        options: How the process runs.
        info: What the file says of itself in the table snapshot_info; None: it has none.

    Returns:
        Rows by table name.

    Raises:
        PublishError: The file could not be built, with DuckDB's kind of error and the table; nothing is left of it.
        OSError: The process can't be started, or the file can't be synced.
    """
    _remove(database)
    tasks = [_table_task(table, files=tuple(literal_path(file) for file in files[table.name])) for table in tables]
    return _write(database, tasks, views_of(tables), options or WriterOptions(), info=info)


def update_database(  # noqa: PLR0913 - what is written, from what, and how
    database: Path,
    tables: Sequence[Table],
    changes: Mapping[str, TableChanges],
    max_changes: int,
    options: WriterOptions | None = None,
    *,
    info: SnapshotInfo | None = None,
) -> dict[str, int]:
    """Bring a copy of an older DuckDB file in line with the Parquet files next to it; then as `build_database`.

    Rows that did not change keep their place, new ones go to the end of their table.

    Args:
        database: The copy, to be changed; it holds all tables with the columns of the contract.
        changes: What changed of each table, by name; the files' paths begin in the folder of the database.
        max_changes: Give up where more rows would be deleted and inserted.
        options: How the process runs.
        info: As for `build_database`.

    Returns:
        Rows by table name.

    Raises:
        PublishError: Too many rows changed, or it failed as `build_database` can; nothing is left of the file.
        OSError: The process can't be started, or the file can't be synced.
    """
    tasks = [_table_task(table, replacements=_replacements(changes[table.name], database.parent)) for table in tables]
    return _write(database, tasks, views_of(tables), options or WriterOptions(), max_changes, info=info)


def _write(  # noqa: PLR0913 - what is written, and how
    database: Path,
    tables: Sequence[TableTask],
    views: Sequence[View],
    options: WriterOptions,
    max_changes: int | None = None,
    *,
    info: SnapshotInfo | None,
) -> dict[str, int]:
    spill = database.parent / _SPILL
    task = Task(
        database=str(database),
        temp_folder=str(spill),
        memory_mb=options.memory_mb,
        tables=tuple(tables),
        max_changes=max_changes,
        views=tuple(_view_task(view) for view in views),
        info=None if info is None else _info_task(info),
    )
    try:
        rows = _run(task, options)
        _require_closed(database)
        sync_file(database)
    except BaseException:
        _remove(database)
        raise
    shutil.rmtree(spill, ignore_errors=True)
    return rows


def _run(task: Task, options: WriterOptions) -> dict[str, int]:
    """Do a task in a process of its own; however this call ends, that process has ended too."""
    rows: dict[str, int] = {}
    failure, said = None, ""

    def count(name: str, of_table: int) -> None:
        rows[name] = of_table
        options.on_table(name, of_table)

    if options.in_process:
        failure = write(task, count)
    else:
        with child_process(serve, options.keep_open) as child:
            child.send(task)
            try:
                while isinstance(reported := child.receive(), tuple):
                    count(*reported)
            except ChildEndedError as ended:
                raise _ended(ended, task) from None
            failure, said = reported, child.wait_for_end()
    if failure is not None:
        raise _explained(failure, said, task)
    if said:
        options.on_stderr(said)
    return rows


def _what(task: Task) -> str:
    return f"exports.duckdb could not be {'built' if task.max_changes is None else 'updated'}"


def _ended(ended: ChildEndedError, task: Task) -> PublishError:
    how = f"was killed by signal {-ended.status}" if ended.status < 0 else f"ended with {ended.status}"
    return PublishError(
        _what(task),
        found=f"its process {how}{f' after {ended.said}' if ended.said else ''}",
        fix="look for the kernel's out-of-memory killer, then run again",
    )


def _explained(failure: Failure, said: str, task: Task) -> PublishError:
    reason, kind = failure.reason, failure.kind
    what = _what(task) + (f", at table {failure.table}" if failure.table else "")
    if reason == "too_many_changes":
        return PublishError(what, found="more rows changed than a copy is worth", fix="run again with --full-refresh")
    if reason == "disk_full":
        return PublishError(what, found=f"no room on the disk (DuckDB {kind})", fix=DISK_FULL_FIX)
    if reason == "too_many_files":
        return PublishError(
            what,
            expected="that this process may have a few files open for each Parquet file",
            found=f"too many open files (DuckDB {kind})",
            fix="raise the limit (ulimit -n, LimitNOFILE of a unit) to a few thousand, then run again",
        )
    if reason == "out_of_memory":
        return PublishError(
            what,
            expected=f"that {task.memory_mb} MB of memory and the room to spill beside the file are enough",
            found=f"DuckDB {kind}",
            fix=f"{DISK_FULL_FIX}; if there is room, a row is very large: set DATABASE_MEMORY_MB to six times its size",
        )
    if reason == "null":
        return PublishError(
            what,
            expected=f"no NULL in {failure.table}.{failure.column}",
            found=f"a NULL (DuckDB {kind})",
            fix="the rows break their contract: this is a defect of the transform, report it with the run's log",
        )
    found = f"DuckDB {kind}{f'; its process said {said}' if said else ''}"
    return PublishError(what, found=found, fix="verify the staged Parquet files, then run again")


def _table_task(table: Table, *, files: tuple[str, ...] = (), replacements: tuple[Replacement, ...] = ()) -> TableTask:
    descriptions, required, storage = table.column_descriptions, set(table.required), table.storage
    columns = tuple(
        ColumnTask(
            name=name,
            kind=kind,
            required=name in required,
            comment=descriptions[name],
            compression=_COMPRESSION[storage[name]],
        )
        for name, kind in table.duckdb_types.items()
    )
    return TableTask(table.name, table.description, columns, table.key, files, replacements)


def _info_task(info: SnapshotInfo) -> TableTask:
    columns = tuple(
        ColumnTask(name, column.description, column.kind, required=True) for name, column in INFO_COLUMNS.items()
    )
    return TableTask(SNAPSHOT_INFO, INFO_DESCRIPTION, columns, values=info.values)


def _view_task(view: View) -> TableTask:
    columns = tuple(ColumnTask(name, column.description, column.kind) for name, column in view.columns.items())
    return TableTask(view.name, view.description, columns, query=view.query)


def _replacements(changes: TableChanges, folder: Path) -> tuple[Replacement, ...]:
    """What to replace of a table, its parts in groups of bounded size."""
    if changes.is_empty:
        return ()
    if changes.parts is None:
        files = tuple(literal_path(folder / file.path) for file in changes.files)
        return (Replacement(changes.column, None, files),)
    of_part: dict[int | None, list[FileRecord]] = {}
    for file in changes.files:
        of_part.setdefault(file.segment, []).append(file)
    groups: list[list[int]] = [[]]
    rows = 0
    for part in changes.parts:
        more = sum(file.rows for file in of_part.get(part, ()))
        if groups[-1] and rows + more > _ROWS_PER_REPLACEMENT:
            groups.append([])
            rows = 0
        groups[-1].append(part)
        rows += more
    return tuple(
        Replacement(
            changes.column,
            tuple(join_bounds(changes.bounds, group)),
            tuple(literal_path(folder / file.path) for part in group for file in of_part.get(part, ())),
        )
        for group in groups
    )


def _require_closed(database: Path) -> None:
    if database.with_name(f"{database.name}.wal").exists():
        raise PublishError(
            "exports.duckdb was not closed properly", found="a write-ahead log beside it", fix="run again"
        )


def _remove(database: Path) -> None:
    for path in (database, database.with_name(f"{database.name}.wal")):
        path.unlink(missing_ok=True)
    shutil.rmtree(database.parent / _SPILL, ignore_errors=True)
