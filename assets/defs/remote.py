"""The asset shell of the push to object storage: in the catalogue only where PUBLISH_URL is set."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.defs.catalog import OWNERS, as_event, check_results, check_specs, key_of
from assets.defs.published import KEY as SNAPSHOT_KEY
from assets.defs.resources import EXPORT_FOLDER, ExportsResource, RunLockHolder, failures, report_to
from pipelines.checks.definitions import REMOTE_CHECKS
from pipelines.export import Run
from pipelines.remote.pushing import Pushed

KEY = key_of("published", "remote")


@dg.multi_asset(
    name="remote",
    pool=EXPORT_FOLDER,
    specs=[
        dg.AssetSpec(
            KEY,
            deps=[SNAPSHOT_KEY],
            group_name="published",
            kinds={"deltalake", "parquet"},
            owners=OWNERS,
            description="The current snapshot in object storage (PUBLISH_URL): a Delta Lake table for each table.",
        )
    ],
    check_specs=check_specs(KEY, REMOTE_CHECKS),
)
def remote(
    context: dg.AssetExecutionContext, exports: ExportsResource, run_lock: dg.ResourceParam[RunLockHolder]
) -> Iterator[dg.MaterializeResult[None]]:
    """Send what is missing, commit to each table, switch current.json."""
    settings, on_progress = exports.settings(), report_to(context.log.info)
    with failures():
        pushed = run_lock.hold(settings, on_progress).push()
    context.log.info(describe_push(pushed))
    yield dg.MaterializeResult(
        asset_key=KEY, metadata=_metadata(pushed), check_results=check_results(KEY, pushed.checks)
    )


def catch_up(context: dg.AssetExecutionContext, run: Run) -> None:
    """In a run that finds nothing changed, whose other steps are skipped: push what an earlier run could not.

    Raises:
        Failure: The store failed; the local publication stands.
    """
    with failures():
        pushed = run.push()
    context.log.info(describe_push(pushed))
    context.log_event(dg.AssetMaterialization(KEY, metadata=_metadata(pushed)))
    for result in check_results(KEY, pushed.checks):
        context.log_event(as_event(KEY, result))


def describe_push(pushed: Pushed) -> str:
    """A push in one line."""
    record = pushed.record
    state = "is current now" if pushed.is_new else "was current already"
    sent = f"{pushed.sent_objects:,} objects, {pushed.sent_bytes:,} bytes sent in {pushed.seconds:.1f} s"
    return f"Snapshot {record.snapshot_id} (sequence {record.sequence}) {state} at {pushed.url}: {sent}"


def _metadata(pushed: Pushed) -> dict[str, Any]:
    record = pushed.record
    return {
        "uri": dg.MetadataValue.url(pushed.url),
        "snapshot_id": record.snapshot_id,
        "sequence": record.sequence,
        "sent_objects": pushed.sent_objects,
        "sent_bytes": pushed.sent_bytes,
        "seconds": round(pushed.seconds, 3),
        "tables": dg.MetadataValue.json(
            {name: {"uri": f"{pushed.url}/{name}", "version": t.version} for name, t in record.tables.items()}
        ),
    }
