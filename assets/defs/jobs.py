"""Jobs and schedules: which assets run together, and when. Thin: no work here."""

import dagster as dg

from assets.defs.batch_job import write_batch_file
from assets.defs.staging import ExtractionConfig

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
