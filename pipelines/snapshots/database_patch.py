"""exports.duckdb as a verified copy of an older one in which only what changed is replaced (DESIGN 4)."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from pipelines.contracts.records import StagingRecord, TableRecord
from pipelines.contracts.tables import Table
from pipelines.contracts.version import CONTRACT_VERSION, library_versions
from pipelines.contracts.views import SnapshotInfo
from pipelines.snapshots.database import WriterOptions, update_database
from pipelines.snapshots.opening import Snapshot
from pipelines.snapshots.table_changes import TableChanges, differing
from pipelines.system.files import Digests

MAX_GROWTH = 1.5  # DESIGN 4
# Replacing a row costs about what inserting three again does, and comparing all rows a third of building the file.
_MAX_CHANGED_SHARE = 0.3
# So many rows are replaced in the time that starting the process takes.
_ALWAYS_WORTH_A_COPY = 20_000
_OF_THE_FILE = ("duckdb", "duckdb_storage")


class CannotPatch(Exception):  # noqa: N818 - no error: the file is built again then
    """The older file can't be reused.

    Args:
        why: The reason, for the operator.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def changes_of(
    base: Snapshot, staging: StagingRecord, tables: Sequence[Table], records: Sequence[TableRecord]
) -> dict[str, TableChanges]:
    """What of each table differs from the base.

    Raises:
        CannotPatch: The two can't be compared: another contract, other settings, other libraries.
    """
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
            raise CannotPatch(f"the {what} is not that of snapshot {manifest.id}")
    now_of = {record.name: record for record in records}
    return {
        table.name: differing(table, base.record_of(table.name), now_of[table.name], staging.segmentation)
        for table in tables
    }


def patch_database(  # noqa: PLR0913 - what is written, from what, and how
    database: Path,
    base: Snapshot,
    tables: Sequence[Table],
    changes: dict[str, TableChanges],
    options: WriterOptions,
    *,
    info: SnapshotInfo,
    digests: Digests,
) -> dict[str, int]:
    """Copy the base's DuckDB file and bring the copy in line with the Parquet files next to it.

    Args:
        database: The file to make, in the new snapshot's folder, its Parquet files complete.
        base: The snapshot whose file is copied.
        changes: What of each differs from the base.
        options: How the writer's process runs.
        info: What the new file says of itself.

    Returns:
        Rows by table name.

    Raises:
        CannotPatch: The base's file is damaged, or the copy has grown too much; the copy is gone then.
        PublishError: The copy could not be changed, or too much of it changed.
        OSError: The disk refused.
    """
    manifest = base.manifest
    max_bytes = MAX_GROWTH * manifest.rebuilt_database_bytes
    if manifest.database.bytes > max_bytes:
        raise CannotPatch(_grown(manifest.database.bytes, manifest.rebuilt_database_bytes))
    try:
        shutil.copyfile(base.database_path, database)
    except FileNotFoundError:
        raise CannotPatch(f"{base.database_path} is missing") from None
    # Where this run has not read the original, the copy is: what is read back is what will be published.
    if (digests.known(base.database_path) or digests.of(database)) != manifest.database.sha256:
        database.unlink()
        raise CannotPatch(f"{base.database_path} is damaged")
    total = sum(record.rows for record in manifest.tables)
    max_changes = max(_ALWAYS_WORTH_A_COPY, int(total * _MAX_CHANGED_SHARE))
    rows = update_database(database, tables, changes, max_changes, options, info=info)
    size = database.stat().st_size
    if size > max_bytes:
        database.unlink()
        raise CannotPatch(_grown(size, manifest.rebuilt_database_bytes))
    return rows


def _grown(size: int, rebuilt: int) -> str:
    if not rebuilt:
        return "its size when it was last built is not known"
    return f"it has grown from {rebuilt:,} bytes, when it was last built, to {size:,}"
