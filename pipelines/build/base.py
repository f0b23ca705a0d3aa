"""What a run finds published: segments that it can reuse unchanged, columns that the source had and has no more.

The values of such a column would else be replaced by NULL without a word (DESIGN 4).
"""

from pathlib import Path

import polars as pl

from pipelines.checks.definitions import columns_kept_check
from pipelines.contracts.records import CheckRecord, Manifest, SourceRecord, StagingRecord
from pipelines.contracts.tables import segmented_tables
from pipelines.contracts.version import CONTRACT_VERSION, library_versions
from pipelines.errors import SnapshotError, StagingError
from pipelines.progress import OnProgress, Progress
from pipelines.settings import Settings
from pipelines.snapshots.guards import check_shrink
from pipelines.snapshots.lookup import newest_snapshot
from pipelines.snapshots.opening import CURRENT, SNAPSHOTS, Snapshot, load_snapshot, try_current
from pipelines.snapshots.verification import failed_checks, verify_files
from pipelines.system.files import Digests


def find_base(settings: Settings, digests: Digests, on_progress: OnProgress) -> Snapshot | None:
    """The newest snapshot, if what it holds can be reused as it is; else None, and the run reads everything.

    It can't where the contract, a library or a setting that shapes the files is another, and where one of its files is
    missing or no longer what was published: such a snapshot is rebuilt by this run. It can't either where `current` is
    newer, as after its folder was renamed: readers would keep that one, though the source is as the older one is.
    """
    newest = newest_snapshot(settings.export_dir)
    current, _ = try_current(settings.export_dir)
    if current is not None and (newest is None or newest.manifest.sequence < current.manifest.sequence):
        why = f"{CURRENT} is {current.folder}, newer than all snapshots that have the name of their manifest"
        on_progress(Progress("read", f"everything is read again: {why}"))
        return None
    if newest is None or not newest.manifest.fingerprints:
        return None
    reason = _unfit(newest, settings, digests)
    if reason:
        on_progress(Progress("read", f"everything is read again: {reason}"))
        return None
    return newest


def _unfit(snapshot: Snapshot, settings: Settings, digests: Digests) -> str:
    manifest = snapshot.manifest
    now = {
        "contract version": CONTRACT_VERSION,
        "SEGMENT_SIZE": settings.segment_size,
        "INCLUDE_FULL_DATA": settings.include_full_data,
        **library_versions(),
    }
    then = {
        "contract version": manifest.contract_version,
        "SEGMENT_SIZE": manifest.segment_size,
        "INCLUDE_FULL_DATA": manifest.include_full_data,
        **manifest.versions,
    }
    others = [name for name, value in now.items() if then.get(name) != value]
    if others:
        return f"{', '.join(others)} changed since snapshot {manifest.id}"
    failed = failed_checks(verify_files(snapshot, digests))
    if failed:
        files = [path for check in failed for key in ("missing", "damaged") for path in check.metadata.get(key, [])]
        return f"snapshot {manifest.id} is damaged: {', '.join(files) or 'files that do not belong to it'}"
    return ""


def base_snapshot(export_dir: Path, record: StagingRecord) -> Snapshot:
    """The snapshot that a staging takes its unchanged segments from.

    Raises:
        StagingError: It is no longer there.
    """
    folder = export_dir / SNAPSHOTS / (record.base_snapshot or "")
    try:
        return load_snapshot(folder)
    except SnapshotError:
        raise StagingError(
            f"Staging {record.staging_id} has lost its base",
            expected=f"snapshot {record.base_snapshot}, which its unchanged segments are in",
            found="no such snapshot any more",
            fix="run the export again",
        ) from None


def find_lost_columns(
    published: Snapshot | None, source: SourceRecord, *, accepted: bool
) -> dict[str, tuple[str, ...]]:
    """Known columns that the source lacks, and that held values when they were last there.

    A column stays lost in all later snapshots, until it is back or the operator accepts it.

    Args:
        published: The published snapshot; None: nothing is published.
        source: The source as it is now; another one than the published one is not compared.

    Returns:
        Their names by source table, tables without any left out.
    """
    if published is None or accepted or published.manifest.source.identity != source.identity:
        return {}
    manifest = published.manifest
    lost: dict[str, tuple[str, ...]] = {}
    for name, now in source.relations.items():
        before = manifest.source.relations.get(name)
        lost_before = manifest.lost_columns.get(name, ())
        gone = [
            column
            for column in now.absent
            if column in lost_before
            or (before is not None and column not in before.absent and _held_values(published, name, column))
        ]
        if gone:
            lost[name] = tuple(gone)
    return lost


def lacks_lost_columns(published: Manifest, source: SourceRecord) -> bool:
    """Whether the source still lacks each column that a snapshot calls lost: one that is back empty changes no hash."""
    absent = {name: relation.absent for name, relation in source.relations.items()}
    return all(column in absent[name] for name, columns in published.lost_columns.items() for column in columns)


def check_source(published: Manifest | None, record: StagingRecord, min_rows_pct: float) -> list[CheckRecord]:
    """Whether the source shrank, or lost columns, since the published snapshot (DESIGN 4), by what a staging knows."""
    relations = record.source.relations
    shrunk = check_shrink(
        published,
        {name: relation.rows for name, relation in relations.items()},
        min_rows_pct,
        accept_shrink=record.accept_shrink,
        identity=record.source.identity,
    )
    kept = [
        columns_kept_check(name).result(
            passed=name not in record.lost_columns,
            lost=list(record.lost_columns.get(name, ())),
            # One of these may be the same column under another name.
            unknown_columns=list(relation.unknown),
        )
        for name, relation in relations.items()
    ]
    return [*shrunk, *kept]


def _held_values(published: Snapshot, source_table: str, column: str) -> bool:
    """Whether any row of a snapshot has a value that is taken from a source column; True where it can't be read."""
    for table in segmented_tables(include_full_data=published.manifest.include_full_data):
        names = [name for name, sources in table.column_sources.items() if f"{source_table}.{column}" in sources]
        if not names or table.name not in published.table_names:
            continue
        try:
            rows = published.scan(table.name)
            # An older version may not have published the column.
            has_value = [pl.col(name).is_not_null().any() for name in names if name in rows.collect_schema()]
            if has_value and rows.select(pl.any_horizontal(has_value)).collect().item():
                return True
        except (SnapshotError, OSError, pl.exceptions.PolarsError):
            return True
    return False
