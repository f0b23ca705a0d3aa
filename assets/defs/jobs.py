"""Jobs and schedules: which assets run together, and when; the step of the job `export_batch`."""

import dagster as dg
from pydantic import Field

from assets.defs.resources import ExportsResource, failures
from assets.defs.staging import ExtractionConfig
from pipelines.query.batch.batches import open_batch, shown_id
from pipelines.query.batch.files import BatchFormat, BatchOptions, file_name, write_batch
from pipelines.snapshots.opening import published_snapshot

BATCHES = "batches"


class BatchConfig(dg.Config):
    """Which batch, and as what."""

    batch_id: str = Field(description="Id of the batch, as in batch_summaries.")
    batch_format: BatchFormat = Field(BatchFormat.CSV, description="CSV, JSON, NDJSON, XLSX or PARQUET.")
    raw: bool = Field(False, description="CSV: do not put ' before texts that a spreadsheet would run as a formula.")
    bom: bool = Field(False, description="CSV: begin with a byte order mark, for Excel.")


@dg.op(name="write_batch_file", out=dg.Out(dg.Nothing))
def write_batch_file(context: dg.OpExecutionContext, config: BatchConfig, exports: ExportsResource) -> None:
    """Write the batch to EXPORT_DIR/batches, over an older file of the same batch and format."""
    with failures():
        export_dir = exports.settings().export_dir
        snapshot = published_snapshot(export_dir)
        target = export_dir / BATCHES / file_name(config.batch_id, config.batch_format)
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_batch(snapshot, config.batch_id) as batch:
            options = BatchOptions(raw=config.raw, bom=config.bom)
            written = write_batch(batch, config.batch_format, target, options)
            rows, candidates = batch.domain_count, batch.candidate_count
    context.add_output_metadata(
        {
            "file": dg.MetadataValue.path(str(target)),
            "batch_id": shown_id(config.batch_id),
            "snapshot_id": snapshot.manifest.id,
            "rows": rows,
            "candidates": candidates,
            "bytes": written.bytes,
            "texts_cut": len(written.cuts),
        }
    )


_EXPORTED = dg.AssetSelection.groups("staging", "exports", "published")
_NO_RETRIES = {"dagster/max_retries": "0"}

export_job = dg.define_asset_job(
    "export",
    selection=_EXPORTED,
    description="Reads what changed in PostgreSQL, builds every table, verifies, and switches `current`.",
    tags=_NO_RETRIES,
)

full_refresh_job = dg.define_asset_job(
    "full_refresh",
    selection=_EXPORTED,
    config=dg.RunConfig(ops={"staging": ExtractionConfig(full_refresh=True)}),
    description="The job `export`, but everything is read again, changed or not: to erase data, or when in doubt.",
    tags=_NO_RETRIES,
)


@dg.job(
    name="export_batch",
    description="Writes one batch of the published snapshot as a file to EXPORT_DIR/batches; PostgreSQL is not asked.",
    tags=_NO_RETRIES,
    executor_def=dg.in_process_executor,
)
def batch_job() -> None:
    """One step."""
    write_batch_file()


daily_export = dg.ScheduleDefinition(
    name="daily_export",
    job=export_job,
    cron_schedule="0 5 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="The job `export` every day at 05:00 UTC. Where nothing changed, it says so and publishes nothing.",
)
