"""What a run that finds nothing changed tells Dagster: the verdicts and the snapshot of an earlier run stand.

Else Dagster would show each check as skipped, and the published snapshot as older than the last check of the source.
"""

import logging
from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from assets.defs.catalog import as_event, check_results, key_of
from assets.defs.published import KEY, snapshot_checks, snapshot_metadata
from pipelines.contracts.records import CheckRecord
from pipelines.snapshots.opening import Snapshot

# Charts and counts of the step that published a snapshot; they are on no other record.
_KEPT = ("plots", "rejected_by_reason")


def report_unchanged(context: dg.AssetExecutionContext, snapshot: Snapshot) -> None:
    """Report that a snapshot is as the source is, and report its checks again, marked as found by an earlier run."""
    # The steps that would evaluate these checks are skipped; Dagster warns of each blocking one that they emitted none.
    logging.getLogger("dagster._core.execution.plan.active").setLevel(logging.ERROR)
    manifest = snapshot.manifest
    again = f"nothing changed since snapshot {manifest.id}"
    context.log_event(
        dg.AssetMaterialization(
            KEY,
            metadata={**_kept_metadata(context, manifest.id), **snapshot_metadata(snapshot), "reported_again": again},
        )
    )
    for table in manifest.tables:
        _report(context, key_of("exports", table.name), table.checks, manifest.id, again)
    _report(context, KEY, snapshot_checks(manifest), manifest.id, again)


def _report(
    context: dg.AssetExecutionContext, key: dg.AssetKey, checks: Sequence[CheckRecord], snapshot_id: str, again: str
) -> None:
    stands_for = _latest(context, key)
    for result in check_results(key, checks, found_by=snapshot_id):
        # In this run, so that its own page shows them too.
        context.log_event(as_event(key, result, {"reported_again": again}, stands_for))


def _latest(
    context: dg.AssetExecutionContext, key: dg.AssetKey
) -> AssetCheckEvaluationTargetMaterializationData | None:
    """The materialization that verdicts are about; Dagster's graph counts those about the latest one only.

    None for the published snapshot, which is reported in this very run.
    """
    records = [] if key == KEY else context.instance.fetch_materializations(key, limit=1).records
    if not records:
        return None
    latest = records[0]
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=latest.storage_id, run_id=latest.run_id, timestamp=latest.timestamp
    )


def _kept_metadata(context: dg.AssetExecutionContext, snapshot_id: str) -> dict[str, dg.MetadataValue]:
    """What only the step that published the snapshot knew; nothing where another one was reported since."""
    event = context.instance.get_latest_materialization_event(KEY)
    metadata = event.asset_materialization.metadata if event and event.asset_materialization else {}
    if "snapshot_id" not in metadata or metadata["snapshot_id"].value != snapshot_id:
        return {}
    return {name: metadata[name] for name in _KEPT if name in metadata}
