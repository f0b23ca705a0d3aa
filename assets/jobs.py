"""Jobs and schedules: which assets run together, and when. Thin: no work here."""

import dagster as dg

export_job = dg.define_asset_job(
    "export",
    selection=dg.AssetSelection.groups("staging", "exports", "published"),
    description="Reads PostgreSQL, builds every table, verifies, and switches `current` to the new snapshot.",
    tags={"dagster/max_retries": "0"},
)

daily_export = dg.ScheduleDefinition(
    name="daily_export",
    job=export_job,
    cron_schedule="0 5 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="The job `export` every day at 05:00 UTC.",
)
