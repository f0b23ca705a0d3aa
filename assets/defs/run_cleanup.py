"""Dagster's own runs: those whose process is gone are marked as failed, old ones are deleted.

Dagster goes on to call a run started whose process is gone, which would hold up every later run. A run is dead where
the file that it holds the lock of is free (pipelines/system/run_lock.py). Where that can't be told (it ran on another
host, or was killed before it had the lock), silence tells: no living run keeps it for so long.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage

from assets.defs.alerting import alert_failure
from assets.defs.jobs import export_job
from assets.defs.resources import ExportsResource
from assets.defs.running import EXPORT_DIR_TAG, LOCATION, is_of_command
from pipelines.errors import ExportError
from pipelines.settings import Settings
from pipelines.system.file_lock import hold_lock
from pipelines.system.run_lock import RUNNING, hold_dead, is_running

_DEAD_RUNS_INTERVAL_S, _OLD_RUNS_INTERVAL_S = 60, 3_600
_LAUNCHED = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
_STARTED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
# A process takes some seconds to its first event. A run that has begun says something each 30 s, and at least when a
# query ends (EXPORT_MAX_SECONDS, an hour).
_MAX_LAUNCH_S, _MAX_SILENCE_S = 600.0, 24 * 3600.0
_LOCK_WAIT_S = 10.0
# Deleting a run takes about 20 ms; a sensor has 60 s.
_RUNS_AT_A_TIME = 200
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dg.sensor(
    name="dead_runs",
    minimum_interval_seconds=_DEAD_RUNS_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Marks runs as failed whose process is gone: killed, out of memory, ended with its machine.",
)
def dead_runs(context: dg.SensorEvaluationContext, exports: ExportsResource) -> dg.SkipReason:
    """Look at the runs that are under way."""
    marked = fail_dead_runs(context.instance, exports.settings(), context.log.warning)
    return dg.SkipReason("; ".join(marked) or "no run is dead")


def fail_dead_runs(instance: dg.DagsterInstance, settings: Settings, log: Callable[[str], None]) -> list[str]:
    """Mark dead runs as failed, or as canceled where somebody was stopping them.

    That frees their place in the concurrency pool. Of runs of the command the alert is posted here, once: their process
    would have posted it. Of others the sensor `alert_on_failure` posts it.

    Args:
        settings: The settings; runs of other export folders are looked at too.
        log: Gets the reason why an alert could not be posted.

    Returns:
        What was marked, in words.
    """
    found = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=[*_LAUNCHED, *_STARTED])):
        run, why = record.dagster_run, ""
        if not _is_ours(run):
            continue
        with suppress(OSError, ExportError), _alone(settings.export_dir):
            why = _mark(instance, record, settings.export_dir)
        if not why:
            continue
        found.append(f"Run {run.run_id}: {why}")
        if is_of_command(run) and run.status != dg.DagsterRunStatus.CANCELING:
            alert_failure(settings, run.run_id, [why], log, instance)
    return found


def _is_ours(run: dg.DagsterRun) -> bool:
    """Whether a run is of this code location; earlier versions gave the command's none."""
    if run.remote_job_origin is None:
        return run.job_name == export_job.name
    return run.remote_job_origin.repository_origin.code_location_origin.location_name == LOCATION


@contextmanager
def _alone(export_dir: Path) -> Iterator[None]:
    """One at a time marks runs, so that each is marked once and has one alert."""
    folder = export_dir / RUNNING
    folder.mkdir(parents=True, exist_ok=True)
    with hold_lock(folder / ".marking", _LOCK_WAIT_S):
        yield


def _mark(instance: dg.DagsterInstance, record: dg.RunRecord, export_dir: Path) -> str:
    """Mark a run if it is dead; why it is, or nothing."""
    run_id = record.dagster_run.run_id
    with _death_of(instance, record, export_dir) as why:
        run = instance.get_run_by_id(run_id) if why else None
        if run is None or run.is_finished:
            return ""
        if run.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, why)
        else:
            instance.report_run_failed(run, why)
        if instance.event_log_storage.supports_global_concurrency_limits:
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)
        return why


@contextmanager
def _death_of(instance: dg.DagsterInstance, record: dg.RunRecord, export_dir: Path) -> Iterator[str]:
    """Why a run is dead, for as long as the block lasts; nothing where it may be alive."""
    run = record.dagster_run
    folder = Path(run.tags.get(EXPORT_DIR_TAG, export_dir))
    with hold_dead(folder, run.run_id) as holder:
        if holder is not None:
            yield f"Its process is gone: it was killed, or its machine was restarted ({holder})"
        elif is_running(folder, run.run_id):
            yield ""
        else:
            yield _describe_silence(instance, record)


def _describe_silence(instance: dg.DagsterInstance, record: dg.RunRecord) -> str:
    """What is wrong with a run of which nothing is known but its events."""
    events = instance.get_records_for_run(record.dagster_run.run_id, limit=1, ascending=False).records
    last = events[0].timestamp if events else record.create_timestamp.timestamp()
    silent_s = time.time() - last
    if record.dagster_run.status in _LAUNCHED and silent_s > _MAX_LAUNCH_S:
        return f"It was launched {silent_s / 60:.0f} minutes ago and has not begun: its process could not start"
    if silent_s > _MAX_SILENCE_S:
        return f"It has said nothing for {silent_s / 3600:.0f} hours: its process is gone"
    return ""


def delete_old_runs(instance: dg.DagsterInstance, older_than: timedelta, now: datetime) -> int:
    """Delete ended runs with their events and logs.

    The run that an asset was materialized in last stays, however old: else the asset would look as if it never was.

    Args:
        older_than: Runs that were created longer ago than this go (KEEP_RUN_DAYS).

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


def try_delete_old_runs(
    instance: dg.DagsterInstance, older_than: timedelta, now: datetime, log: Callable[[str], None]
) -> None:
    """As `delete_old_runs`, after a run: that has its result already, whatever goes wrong here.

    Args:
        log: Gets what went wrong.
    """
    try:
        delete_old_runs(instance, older_than, now)
    except Exception as error:  # noqa: BLE001  of Dagster, of its database, of the disk
        log(
            f"Dagster's old runs could not be deleted. Found: {type(error).__name__}. Fix: check DAGSTER_HOME; the next"
            " run tries again"
        )


def _delete_database(instance: dg.DagsterInstance, run_id: str) -> None:
    """In SQLite each run has a database of its own, which is empty now."""
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        path = Path(storage.path_for_shard(run_id))
        for name in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            with suppress(OSError):
                name.unlink(missing_ok=True)


@dg.sensor(
    minimum_interval_seconds=_OLD_RUNS_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Deletes what Dagster keeps of runs that are older than KEEP_RUN_DAYS.",
)
def old_runs(context: dg.SensorEvaluationContext, exports: ExportsResource) -> dg.SkipReason:
    """Delete old runs, once an hour."""
    days = exports.settings().keep_run_days
    deleted = delete_old_runs(context.instance, timedelta(days=days), datetime.now(UTC))
    return dg.SkipReason(f"{deleted} runs deleted that were older than {days:g} days")
