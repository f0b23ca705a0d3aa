"""The step of the job `export_batch`: a batch of the published snapshot as a file in the export folder."""

import dagster as dg
from pydantic import Field

from assets.defs.resources import ExportsResource, failures
from pipelines.errors import SnapshotError
from pipelines.query.batch.batches import open_batch, shown_id
from pipelines.query.batch.files import BatchFormat, BatchOptions, file_name, write_batch
from pipelines.snapshots.opening import current_snapshot

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
        snapshot = current_snapshot(export_dir)
        if snapshot is None:
            raise SnapshotError(f"Nothing is published in {export_dir}", fix="run the job `export` first")
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
