"""What stops a run before its rows replace the published ones (DESIGN 3.6, 4).

That is another source, far fewer rows, a check that failed, or tables that do not belong together.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from pipelines.checks.definitions import shrink_check
from pipelines.contracts.records import CheckRecord, Manifest, SourceRecord, StagingRecord, TableRecord
from pipelines.contracts.tables import Table
from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.errors import PublishError, SourceChangedError, StagingError
from pipelines.snapshots.lookup import newest_snapshot
from pipelines.snapshots.opening import Snapshot, require_link, try_current
from pipelines.snapshots.verification import failed_checks

_REBUILD = "build all tables again from one staging: run the job `export`"


def reference_snapshot(export_dir: Path) -> Snapshot | None:
    """The snapshot that a run is compared with: the current one, else the newest that can be read.

    Without `current`, or with a damaged one, the next run must still not put another source over the published one.

    Returns:
        None where no snapshot can be read.

    Raises:
        SnapshotError: `current` is no link, so that it can't be switched.
    """
    require_link(export_dir)
    return try_current(export_dir)[0] or newest_snapshot(export_dir)


def is_same_source(before: SourceRecord, identity: str, address: str) -> bool:
    """Whether a source is that of a record: the same cluster, database and schema, reached at the same address.

    Another address of the same cluster is a copy of it, or a move. A record of an earlier version has no address, or of
    a list of hosts the one that was reached.
    """
    return before.identity == identity and before.address in {"", address, *address.split(",")}


def require_same_source(published: Manifest | None, identity: str, address: str, *, is_accepted: bool) -> None:
    """Refuse another source than the published one, unless the operator accepted it for this run.

    Args:
        published: The manifest to compare with; None: there is none, so any source will do.

    Raises:
        SourceChangedError: The sources differ; it names both and how to accept the new one.
    """
    if published is None or is_accepted or is_same_source(published.source, identity, address):
        return
    moved = published.source.identity == identity
    raise SourceChangedError(
        "This run reads another source than the one that is published"
        + (
            ": the same PostgreSQL cluster at another address, so a copy of the server or a move of it" if moved else ""
        ),
        expected=f"source {_described(published.source.identity, published.source.address)} of snapshot {published.id}",
        found=f"source {_described(identity, address)}",
        fix="set DATABASE_URL and SOURCE_SCHEMA to the published source, or accept the new one:"
        " lei-exports run --accept-new-source (run config accept_new_source: true)",
    )


def _described(identity: str, address: str) -> str:
    return f"{identity} at {address}" if address else identity


def check_shrink(
    published: Manifest | None,
    source_rows: Mapping[str, int],
    min_rows_pct: float,
    *,
    accept_shrink: bool,
    identity: str,
) -> list[CheckRecord]:
    """Compare the source's rows with those of the published snapshot.

    Args:
        published: The manifest of the published snapshot, None where nothing is published.
        source_rows: Rows read, by source table.
        min_rows_pct: Smallest share of the published rows that may be left, percent; 0 is off (MIN_ROWS_PCT).
        identity: Source that was read; another one than the published is not compared.

    Returns:
        One blocking check per source table, with rows before and now and the limit.
    """
    is_same = published is not None and published.source.identity == identity
    relations = published.source.relations if published is not None and is_same else {}
    checks = []
    for table, now in source_rows.items():
        before = relations[table].rows if table in relations else None
        limit = 0 if before is None else math.ceil(before * min_rows_pct / 100)
        metadata = {
            "rows_before": before,
            "rows_now": now,
            "limit_rows": limit,
            "min_rows_pct": min_rows_pct,
            "accepted": accept_shrink,
        }
        checks.append(shrink_check(table).result(passed=accept_shrink or now >= limit, **metadata))
    return checks


def require_publishable(
    staging: StagingRecord, tables: Sequence[Table], built: Sequence[TableRecord], checks: Sequence[CheckRecord]
) -> None:
    """Refuse what does not belong together, is incomplete or failed a check.

    Raises:
        StagingError: Tables are missing, twice or unknown, of another staging or contract version, or a record
            contradicts itself.
        PublishError: A blocking check failed.
    """
    wanted, names = [table.name for table in tables], [record.name for record in built]
    if sorted(names) != sorted(wanted):
        raise StagingError(
            "The built tables are not the tables to publish",
            expected=", ".join(sorted(wanted)),
            found=", ".join(sorted(names)) or "none",
            fix=_REBUILD,
        )
    for record in built:
        _require_of_staging(record, staging)
        _require_files(record)
    failed = failed_checks([*checks, *(check for record in built for check in record.checks)])
    if failed:
        raise PublishError(
            "Blocking checks failed, nothing was published",
            found=", ".join(f"{check.table}.{check.name}" for check in failed),
            fix="see the metadata of these checks in the run; correct the source or the transform",
        )


def require_base(staging: StagingRecord, newest: Manifest | None) -> None:
    """Refuse a staging whose unchanged segments come from a snapshot that is not the newest any more.

    Raises:
        StagingError: Another snapshot was built since the staging began, or its base is gone.
    """
    if staging.base_snapshot is None or (newest is not None and newest.id == staging.base_snapshot):
        return
    raise StagingError(
        f"Staging {staging.staging_id} continues a snapshot that is not the newest any more",
        expected=f"snapshot {staging.base_snapshot}",
        found="no snapshot" if newest is None else f"snapshot {newest.id}",
        fix="run the job `export` again: it looks for what changed since the newest snapshot",
    )


def _require_of_staging(record: TableRecord, staging: StagingRecord) -> None:
    if record.staging_id != staging.staging_id:
        raise StagingError(
            f"{record.name} was built from another staging",
            expected=staging.staging_id,
            found=record.staging_id,
            fix=_REBUILD,
        )
    if record.contract_version != CONTRACT_VERSION:
        raise StagingError(
            f"{record.name} was built for another contract version",
            expected=CONTRACT_VERSION,
            found=record.contract_version,
            fix=_REBUILD,
        )


def _require_files(record: TableRecord) -> None:
    paths = [file.path for file in record.files]
    wrong = [path for path in paths if PurePosixPath(path).parts != (record.name, PurePosixPath(path).name)]
    if wrong or not paths or paths != sorted(set(paths)):
        raise StagingError(
            f"The files of {record.name} are not listed properly",
            expected=f"at least one `{record.name}/<file>`, in name order, each once",
            found=f"{len(paths)} file(s), {len(wrong)} of them elsewhere",
            fix=_REBUILD,
        )
    rows = sum(file.rows for file in record.files)
    if rows != record.rows:
        raise StagingError(
            f"{record.name} and its files disagree on rows", expected=str(record.rows), found=str(rows), fix=_REBUILD
        )
