"""exports.duckdb of a new snapshot: a copy of an older one with what changed replaced, or built again (DESIGN 4)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.contracts.records import FileRecord, StagingRecord, TableRecord
from pipelines.contracts.tables import Table
from pipelines.contracts.version import CONTRACT_VERSION, library_versions
from pipelines.contracts.views import SnapshotInfo
from pipelines.errors import PublishError
from pipelines.snapshots.database import WriterOptions, build_database, update_database
from pipelines.snapshots.opening import DATABASE, Snapshot
from pipelines.snapshots.table_changes import TableChanges, differing
from pipelines.system.files import Digests, copy_file, seal_file

MAX_GROWTH = 1.5  # DESIGN 4
# Replacing a row costs about what inserting three again does, and comparing all rows a third of building the file.
_MAX_CHANGED_SHARE = 0.3
# So many rows are replaced in the time that starting the process takes.
_ALWAYS_WORTH_A_COPY = 20_000
_OF_THE_FILE = ("duckdb", "duckdb_storage")


@dataclass(frozen=True)
class WrittenDatabase:
    """exports.duckdb of a new snapshot.

    Attributes:
        record: What the manifest says of it, without its first snapshot.
        rebuilt_bytes: Its size, or that of the older file it goes back to, when built again.
        changes: What of each table was replaced in the copy of an older file; None: it was built again.
    """

    record: FileRecord
    rebuilt_bytes: int
    changes: dict[str, TableChanges] | None


def add_database(  # noqa: PLR0913 - what is written, from what, and how
    folder: Path,
    tables: Sequence[Table],
    records: Sequence[TableRecord],
    options: WriterOptions,
    *,
    staging: StagingRecord,
    base: Snapshot | None,
    info: SnapshotInfo,
    digests: Digests,
    log: Callable[[str], None] = lambda _: None,
) -> WrittenDatabase:
    """Write exports.duckdb so that it equals the folder's Parquet files: always a new file, never a link.

    Args:
        folder: The new snapshot's folder, its Parquet files complete.
        records: What was built of each.
        options: How the writer's process runs.
        base: The snapshot whose file is copied and changed where that will do; None: build it again.
        info: What the file says of itself.
        log: Gets the reason why it was built again although there is a base.

    Returns:
        The file, synced, read-only.

    Raises:
        PublishError: It could not be built.
        OSError: It could not be copied or synced.
    """
    database = folder / DATABASE
    if base is not None:
        try:
            changes = _changes_of(base, staging, tables, records)
            rows = _patch(database, base, tables, changes, options, info=info, digests=digests)
            return _written(database, rows, base.manifest.rebuilt_database_bytes, changes, digests)
        except _CannotPatch as reason:
            log(f"exports.duckdb is built again: {reason.why}")
        except PublishError as error:
            log(f"exports.duckdb is built again: {error.what}: {error.found}")
    files = {table.name: [folder / f.path for f in table.files] for table in records}
    rows = build_database(database, tables, files, options, info=info)
    return _written(database, rows, database.stat().st_size, None, digests)


def _written(
    database: Path,
    rows: dict[str, int],
    rebuilt_bytes: int,
    changes: dict[str, TableChanges] | None,
    digests: Digests,
) -> WrittenDatabase:
    seal_file(database)
    record = FileRecord(
        path=DATABASE,
        segment=None,
        rows=sum(rows.values()),
        bytes=database.stat().st_size,
        sha256=digests.of(database),
    )
    return WrittenDatabase(record, rebuilt_bytes, changes)


class _CannotPatch(Exception):  # noqa: N818 - no error: the file is built again then
    """The older file can't be reused: why, for the operator."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def _changes_of(
    base: Snapshot, staging: StagingRecord, tables: Sequence[Table], records: Sequence[TableRecord]
) -> dict[str, TableChanges]:
    """What of each table differs from the base, where the two can be compared."""
    manifest, versions = base.manifest, library_versions()
    published = {name: manifest.versions.get(name) for name in _OF_THE_FILE}
    for what, before, now in (
        ("contract version", manifest.contract_version, CONTRACT_VERSION),
        ("INCLUDE_FULL_DATA", manifest.include_full_data, staging.include_full_data),
        ("SEGMENT_SIZE", manifest.segment_size, staging.segment_size),
        ("DuckDB version", published, {name: versions[name] for name in _OF_THE_FILE}),
        ("tables", sorted(base.table_names), sorted(table.name for table in tables)),
    ):
        if before != now:
            raise _CannotPatch(f"the {what} is not that of snapshot {manifest.id}")
    now_of = {record.name: record for record in records}
    return {
        table.name: differing(table, base.record_of(table.name), now_of[table.name], staging.segmentation)
        for table in tables
    }


def _patch(  # noqa: PLR0913 - what is written, from what, and how
    database: Path,
    base: Snapshot,
    tables: Sequence[Table],
    changes: dict[str, TableChanges],
    options: WriterOptions,
    *,
    info: SnapshotInfo,
    digests: Digests,
) -> dict[str, int]:
    """Copy the base's file and bring the copy in line with the new Parquet files; where that fails nothing is left."""
    manifest = base.manifest
    max_bytes = MAX_GROWTH * manifest.rebuilt_database_bytes
    if manifest.database.bytes > max_bytes:
        raise _CannotPatch(_grown(manifest.database.bytes, manifest.rebuilt_database_bytes))
    try:
        copy_file(base.database_path, database)
    except FileNotFoundError:
        raise _CannotPatch(f"{base.database_path} is missing") from None
    # Where this run has not read the original, the copy is: what is read back is what will be published.
    if (digests.known(base.database_path) or digests.of(database)) != manifest.database.sha256:
        database.unlink()
        raise _CannotPatch(f"{base.database_path} is damaged")
    total = sum(record.rows for record in manifest.tables)
    max_changes = max(_ALWAYS_WORTH_A_COPY, int(total * _MAX_CHANGED_SHARE))
    rows = update_database(database, tables, changes, max_changes, options, info=info)
    size = database.stat().st_size
    if size > max_bytes:
        database.unlink()
        raise _CannotPatch(_grown(size, manifest.rebuilt_database_bytes))
    return rows


def _grown(size: int, rebuilt: int) -> str:
    if not rebuilt:
        return "its size when it was last built is not known"
    return f"it has grown from {rebuilt:,} bytes, when it was last built, to {size:,}"
