"""The asset shell of the switch: the only asset that changes what readers see (DESIGN 3.6)."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.defs.catalog import OWNERS, check_results, check_specs, key_of, plots_metadata
from assets.defs.resources import (
    EXPORT_FOLDER,
    ExportsResource,
    RunLockHolder,
    as_failure,
    failures,
    report_to,
    tag_result,
)
from pipelines.build.publication import ChecksFailedError, Publication
from pipelines.checks.definitions import SNAPSHOT, SNAPSHOT_CHECKS
from pipelines.checks.results import checks_of
from pipelines.contracts.records import CheckRecord, Manifest
from pipelines.contracts.tables import published_tables
from pipelines.snapshots.opening import SNAPSHOTS, Snapshot

KEY = key_of("published", "snapshot")


@dg.multi_asset(
    name="published",
    pool=EXPORT_FOLDER,
    specs=[
        dg.AssetSpec(
            KEY,
            deps=[key_of("exports", table.name) for table in published_tables(include_full_data=False)],
            group_name="published",
            kinds={"duckdb", "parquet"},
            owners=OWNERS,
            description="The snapshot that `current` points at: every table as Parquet, and all in one DuckDB file.",
        )
    ],
    check_specs=check_specs(KEY, SNAPSHOT_CHECKS),
)
def published(
    context: dg.AssetExecutionContext, exports: ExportsResource, run_lock: dg.ResourceParam[RunLockHolder]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
    """Check, write the DuckDB file, verify both formats, switch."""
    settings, on_progress = exports.settings(), report_to(context.log.info)
    publication: Publication | ChecksFailedError
    with failures():
        try:
            publication = run_lock.hold(settings, on_progress).publish(with_report=True)
        except ChecksFailedError as error:
            publication = error
    if isinstance(publication, ChecksFailedError):
        yield from check_results(KEY, [check for check in publication.checks if check.table == SNAPSHOT])
        raise as_failure(publication) from None
    # The snapshot is published, or built during a rollback: from here on nothing may fail the step.
    manifest = publication.manifest
    snapshot = Snapshot(settings.export_dir / SNAPSHOTS / manifest.id, manifest)
    context.log.info(_format_summary(publication))
    state = "published" if publication.held_at is None else "built, not published,"
    tag_result(context, f"{state} snapshot {manifest.sequence}")
    yield dg.MaterializeResult(
        asset_key=KEY,
        metadata={
            **snapshot_metadata(snapshot),
            **plots_metadata(publication.plots),
            "rejected_by_reason": dg.MetadataValue.json(publication.rejects),
            **{f"time_{stage}_s": round(seconds, 3) for stage, seconds in manifest.timings_s.items()},
        },
        check_results=check_results(KEY, snapshot_checks(manifest), found_by=manifest.id),
    )


def snapshot_metadata(snapshot: Snapshot) -> dict[str, Any]:
    """What its manifest says of a snapshot, for the page of the asset.

    Its tab Plots draws every number, in the order of the names' letters: rows, rejected rows, duration, bytes. The
    `time_…_s` of the stages come after these.
    """
    manifest = snapshot.manifest
    rows = {table.name: table.rows for table in manifest.tables}
    rejected = rows.pop("rejected_rows", 0)
    return {
        **{f"exported_rows_{name}": count for name, count in rows.items()},
        "rejected_rows": rejected,
        "run_s": round(manifest.work_s, 3),
        "size_duckdb_bytes": manifest.database.bytes,
        "size_parquet_bytes": sum(file.bytes for table in manifest.tables for file in table.files),
        "snapshot_id": manifest.id,
        "sequence": str(manifest.sequence),  # no number to plot
        "source": manifest.source.description,
        "snapshot_at": dg.MetadataValue.timestamp(manifest.source.snapshot_at),
        "contract_version": manifest.contract_version,
        **{file.path: dg.MetadataValue.path(str(snapshot.folder / file.path)) for file in manifest.extras},
    }


def snapshot_checks(manifest: Manifest) -> list[CheckRecord]:
    """The checks of the asset."""
    return [check for check in checks_of(manifest) if check.table == SNAPSHOT]


def _format_summary(publication: Publication) -> str:
    """The snapshot's line in the run's log."""
    manifest, held_at = publication.manifest, publication.held_at
    state = "published" if held_at is None else f"built; a rollback holds, {held_at} stays published"
    rejected = sum(publication.rejects.values())
    size = f"{manifest.database.rows:,} rows, {manifest.bytes:,} bytes, {rejected:,} rows rejected"
    return f"Snapshot {manifest.id} (sequence {manifest.sequence}) is {state}: {size}"
