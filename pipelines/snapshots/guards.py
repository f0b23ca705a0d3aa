"""What stops a run before its rows replace the published ones: another source, or far fewer rows (DESIGN 4)."""

import math
from collections.abc import Mapping
from pathlib import Path

from pipelines.checks.definitions import shrink_check
from pipelines.contracts.records import CheckRecord, Manifest, SourceRecord
from pipelines.errors import SnapshotError, SourceChangedError
from pipelines.snapshots.lookup import newest_snapshot
from pipelines.snapshots.opening import CURRENT, Snapshot, current_snapshot


def reference_snapshot(export_dir: Path) -> Snapshot | None:
    """The snapshot that a run is compared with: the current one, else the newest that can be read.

    Without `current`, or with a damaged one, the next run must still not put another source over the published one.

    Returns:
        None where no snapshot can be read.

    Raises:
        SnapshotError: `current` is no link, so that it can't be switched.
    """
    try:
        current = current_snapshot(export_dir)
    except SnapshotError:
        if not (export_dir / CURRENT).is_symlink():
            raise
        current = None
    return current or newest_snapshot(export_dir)


def is_same_source(before: SourceRecord, identity: str, address: str) -> bool:
    """Whether a source is that of a record: the same cluster, database and schema, reached at the same address.

    Another address of the same cluster is a copy of it, or a move. A record of an earlier version has no address.
    """
    return before.identity == identity and before.address in {"", address}


def require_same_source(published: Manifest | None, identity: str, address: str, *, is_accepted: bool) -> None:
    """Refuse another source than the published one, unless the operator accepted it for this run.

    Args:
        published: The manifest to compare with; None: there is none, so any source will do.
        identity: Identity of the source of this run (records.SourceRecord).
        is_accepted: The operator accepts another source in this run.

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
        accept_shrink: The operator accepts fewer rows in this run.
        identity: Source that was read; another one than the published is not compared.

    Returns:
        One blocking check per source table, with rows before and now and the limit.
    """
    comparable = published is not None and published.source.identity == identity
    checks = []
    for table, now in source_rows.items():
        relation = published.source.relations.get(table) if published is not None and comparable else None
        before = None if relation is None else relation.rows
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
