"""What stops a run before its rows replace the published ones: another source, or far fewer rows (DESIGN 4).

Belongs here: comparisons with the published manifest. Does not: reading it, or checks of rows.
"""

import math
from collections.abc import Mapping

from pipelines.checks.definitions import shrink_check
from pipelines.contracts.records import CheckRecord, Manifest, StagingRecord
from pipelines.errors import SourceChangedError


def check_source_identity(published: Manifest | None, staging: StagingRecord) -> None:
    """Refuse rows of another source than the published one, unless the operator accepted it for this run.

    Args:
        published: The manifest of the published snapshot; None: nothing is published, so any source will do.
        staging: What was read.

    Raises:
        SourceChangedError: The identities differ; it names both and the way out.
    """
    require_same_source(published, staging.source.identity, is_accepted=staging.accept_new_source)


def require_same_source(published: Manifest | None, identity: str, *, is_accepted: bool) -> None:
    """The rule of `check_source_identity`, for a run that has not read anything yet.

    Args:
        published: The manifest of the published snapshot; None: nothing is published, so any source will do.
        identity: Identity of the source (records.SourceRecord).
        is_accepted: The operator accepts another source in this run.

    Raises:
        SourceChangedError: The identities differ; it names both and the way out.
    """
    if published is None or is_accepted or published.source.identity == identity:
        return
    raise SourceChangedError(
        "This run reads another source than the one that is published",
        expected=f"source {published.source.identity} of snapshot {published.id}",
        found=f"source {identity}",
        fix="set DATABASE_URL and SOURCE_SCHEMA to the published source, or accept the new one:"
        " lei-exports run --accept-new-source (run config accept_new_source: true)",
    )


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
