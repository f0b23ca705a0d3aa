"""Deletes what Dagster keeps of old runs, by its own means: by the command `run`, and by a sensor of the daemon."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage

from assets.defs.resources import ExportsResource

# Deleting a run takes about 20 ms; a sensor has 60 s.
_RUNS_AT_A_TIME = 200
_INTERVAL_S = 3600
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def delete_old_runs(instance: dg.DagsterInstance, older_than: timedelta, now: datetime) -> int:
    """Delete ended runs with their events and logs.

    The run that an asset was materialized in last stays, however old: else the asset would look as if it never was.

    Args:
        instance: Dagster's instance.
        older_than: Runs that were created longer ago than this go (KEEP_RUN_DAYS).
        now: The clock, UTC.

    Returns:
        How many were deleted; of more than 200 the others go the next time.
    """
    filters = dg.RunsFilter(statuses=_ENDED, created_before=now - older_than)
    entries = [record.asset_entry for record in instance.get_asset_records()]
    latest = {entry.last_materialization_record.run_id for entry in entries if entry.last_materialization_record}
    old = instance.get_run_ids(filters, limit=_RUNS_AT_A_TIME + len(latest))
    surplus = [run_id for run_id in old if run_id not in latest][:_RUNS_AT_A_TIME]
    for run_id in surplus:
        instance.delete_run(run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        _delete_database(instance, run_id)
    return len(surplus)


def _delete_database(instance: dg.DagsterInstance, run_id: str) -> None:
    """In SQLite each run has a database of its own, which is empty now."""
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        path = Path(storage.path_for_shard(run_id))
        for name in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            with suppress(OSError):
                name.unlink(missing_ok=True)


@dg.sensor(
    minimum_interval_seconds=_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Deletes what Dagster keeps of runs that are older than KEEP_RUN_DAYS.",
)
def old_runs(context: dg.SensorEvaluationContext, exports: ExportsResource) -> dg.SkipReason:
    """Delete old runs, once an hour."""
    days = exports.settings().keep_run_days
    deleted = delete_old_runs(context.instance, timedelta(days=days), datetime.now(UTC))
    return dg.SkipReason(f"{deleted} runs deleted that were older than {days:g} days")
