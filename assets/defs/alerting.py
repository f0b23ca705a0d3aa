"""Alerts of Dagster's runs: sensors that find the facts, let pipelines/alerts decide, and post.

These sensors leave a run of `lei-exports run` alone: the terminal posts for it (launch.py), or, where it was killed,
the one that finds the run dead (run_cleanup.py).
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.defs.resources import ExportsResource
from assets.defs.running import is_of_command
from pipelines.alerts.webhook import STALE_MEMORY, Alert, StaleMemory, decide_stale, decide_success, post_alert
from pipelines.errors import SnapshotError
from pipelines.settings import Settings
from pipelines.snapshots.history import read_source_check
from pipelines.snapshots.opening import current_snapshot
from pipelines.system.unexpected import describe_message

_INTERVAL_S = 60
_CHECK_FAILED = "DagsterAssetCheckFailedError"
_NO_STEP = "the run ended without an error of its own: its process was killed, or could not start"
_UNSET = "ALERT_WEBHOOK_URL is unset: nobody is told"


def failure_reasons(events: Iterable[dg.DagsterEvent]) -> list[str]:
    """Why steps failed, in our words: of an error that is not ours what can hold no row content (unexpected.py)."""
    reasons = []
    for event in events:
        if event.event_type_value != "STEP_FAILURE":
            continue
        failure = event.step_failure_data
        described = failure.user_failure_data.description if failure.user_failure_data else None
        reasons.append(described or f"step {event.step_key} failed: {_cause(event)}")
    return reasons


def _cause(event: dg.DagsterEvent) -> str:
    """What is behind an error of Dagster, which says of most only that a step failed."""
    error = event.step_failure_data.error
    if error is None:
        return "no error"
    if error.cls_name == _CHECK_FAILED:
        return error.message.strip()  # it holds names of checks only
    while error.cause is not None:
        error = error.cause
    return describe_message(error.cls_name or "error", error.message)


def alert_failure(
    settings: Settings,
    run_id: str,
    reasons: Iterable[str],
    log: Callable[[str], None],
    instance: dg.DagsterInstance | None = None,
) -> None:
    """Post that a run failed, where a webhook is set, and note in the run's log whether it was delivered.

    Args:
        log: Gets the reason why the alert could not be posted.
        instance: Dagster's; None: that of DAGSTER_HOME.
    """
    reason = "; ".join(reasons) or _NO_STEP
    _post_of_run(settings, Alert("failure", datetime.now(UTC), reason, run_id, _published_id(settings)), log, instance)


def alert_success(
    settings: Settings,
    run_id: str,
    started_at: datetime,
    log: Callable[[str], None],
    instance: dg.DagsterInstance | None = None,
) -> None:
    """Post that a run published, or found nothing to publish, as `alert_failure` does; of other runs nothing."""
    alert = decide_success(read_source_check(settings.export_dir), started_at, run_id, datetime.now(UTC))
    if alert is not None:
        _post_of_run(settings, alert, log, instance)


@dg.run_failure_sensor(
    name="alert_on_failure",
    minimum_interval_seconds=_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Posts each failed run, with its reason, to ALERT_WEBHOOK_URL.",
)
def alert_on_failure(context: dg.RunFailureSensorContext, exports: ExportsResource) -> None:
    """Post a run that failed."""
    if is_of_command(context.dagster_run):
        return
    reasons = failure_reasons(context.get_step_failure_events())
    alert_failure(exports.settings(), context.dagster_run.run_id, reasons, context.log.warning, context.instance)


@dg.run_status_sensor(
    dg.DagsterRunStatus.SUCCESS,
    name="alert_on_success",
    minimum_interval_seconds=_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Posts each run that looked at the source, with the published snapshot's id, to ALERT_WEBHOOK_URL.",
)
def alert_on_success(context: dg.RunStatusSensorContext, exports: ExportsResource) -> None:
    """Post a run that succeeded."""
    if is_of_command(context.dagster_run):
        return
    record = context.instance.get_run_record_by_id(context.dagster_run.run_id)
    if record is not None and record.start_time is not None:
        started_at = datetime.fromtimestamp(record.start_time, UTC)
        run_id = context.dagster_run.run_id
        alert_success(exports.settings(), run_id, started_at, context.log.warning, context.instance)


@dg.sensor(
    name="alert_on_staleness",
    minimum_interval_seconds=_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Posts to ALERT_WEBHOOK_URL, once a day, while the source was not looked at for STALE_AFTER_HOURS.",
)
def alert_on_staleness(context: dg.SensorEvaluationContext, exports: ExportsResource) -> dg.SkipReason:
    """Decide by the clock; what could not be posted is tried again at the next tick."""
    settings, now = exports.settings(), datetime.now(UTC)
    memory = STALE_MEMORY.validate_json(context.cursor) if context.cursor else StaleMemory(now)
    alert, afterwards = decide_stale(
        read_source_check(settings.export_dir), memory, timedelta(hours=settings.stale_after_hours), now
    )
    if alert is not None and not _post(settings, alert, context.log.warning):
        afterwards = memory
    context.update_cursor(STALE_MEMORY.dump_json(afterwards, by_alias=True).decode())
    if settings.alert_webhook_url is None:
        return dg.SkipReason(_UNSET)
    return dg.SkipReason(alert.reason if alert else "nothing to tell")


ALERT_SENSORS = [alert_on_failure, alert_on_success, alert_on_staleness]


def _post_of_run(
    settings: Settings, alert: Alert, log: Callable[[str], None], instance: dg.DagsterInstance | None
) -> None:
    if settings.alert_webhook_url is None:
        return
    reported: list[str] = []
    if _post(settings, alert, reported.append):
        reported.append(f"The alert ({alert.kind}) was delivered to ALERT_WEBHOOK_URL")
    else:
        log(reported[-1])
    with ExitStack() as stack:
        known = instance or stack.enter_context(dg.DagsterInstance.get())
        run = known.get_run_by_id(alert.run_id or "")
        if run is not None:
            known.report_engine_event(reported[-1], dagster_run=run)


def _post(settings: Settings, alert: Alert, log: Callable[[str], None]) -> bool:
    return settings.alert_webhook_url is not None and post_alert(settings.alert_webhook_url, alert, log)


def _published_id(settings: Settings) -> str | None:
    try:
        snapshot = current_snapshot(settings.export_dir)
    except SnapshotError:
        return None
    return snapshot.manifest.id if snapshot else None
