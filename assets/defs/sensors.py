"""The sensor `source_changed`: asks PostgreSQL a cheap question and requests one run per change.

`decide` is pure: what was seen, what the cursor says and what became of the runs asked for. A run_key that a failed run
has is skipped for ever (FACTS 2.1), so the key holds the number of failed tries, and when the last run ended: of old
tries nothing is known, and the number may come again. Between tries the pause grows.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import dagster as dg

from assets.defs.catalog import key_of
from assets.defs.jobs import export_job
from assets.defs.resources import ExportsResource
from assets.defs.run_cleanup import fail_dead_runs
from pipelines.contracts.source import SOURCE_TABLES
from pipelines.errors import ExportError
from pipelines.snapshots.history import CLOCK_SKEW
from pipelines.source.connection import SourceAddress
from pipelines.source.probe import probe_source
from pipelines.system.printable import printable

# Hidden in the UI by its prefix, as Dagster's own: a hash says nothing to a person.
POSITION_TAG = ".dagster/lei_exports_position"
FIRST_PAUSE = timedelta(minutes=1)
MAX_PAUSE = timedelta(hours=1)
# From here on it is MAX_PAUSE; a power without a limit overflows a timedelta.
_MAX_DOUBLINGS = 6

Outcome = Literal["running", "succeeded", "failed"]


@dataclass(frozen=True)
class Try:
    """A run of the job `export`.

    Attributes:
        position: Position it was asked for; "" where somebody else started it.
        ended_at: When it ended; None while it runs.
    """

    position: str
    outcome: Outcome
    ended_at: datetime | None


@dataclass(frozen=True)
class Decision:
    """What to do.

    Attributes:
        run_key: Key of the run to ask for; None asks for none.
        done: Position to remember: moved only past one that a run succeeded with.
        reason: Why no run is asked for.
    """

    run_key: str | None
    done: str
    reason: str = ""


def decide(
    position: str, done: str, tries: Sequence[Try], now: datetime, shortest_pause: timedelta = timedelta(0)
) -> Decision:
    """Whether to ask for a run.

    Args:
        position: What the source looks like now (probe_source).
        done: Position that a run succeeded with; "" before the first.
        tries: Runs of the job, of whatever position.
        shortest_pause: Shortest time from the end of a run that succeeded to the next one.
    """
    if position == done:
        return Decision(None, done, "nothing changed since the last run that succeeded")
    mine = [run for run in tries if run.position == position]
    if any(run.outcome == "succeeded" for run in mine):
        return Decision(None, position, "a run published this change")
    if any(run.outcome == "running" for run in tries):
        return Decision(None, done, "a run is under way; it is asked again when that one has ended")
    last_success = _last_end((run for run in tries if run.outcome == "succeeded"), now)
    if last_success is not None and now < (earliest := last_success + shortest_pause):
        return Decision(None, done, f"changed; the next run is at {_shown(earliest, now)} at the earliest")
    failed = [run for run in mine if run.outcome == "failed"]
    last_failure = _last_end(failed, now)
    if last_failure is not None:
        pause = min(FIRST_PAUSE * 2 ** min(len(failed) - 1, _MAX_DOUBLINGS), MAX_PAUSE)
        next_try = last_failure + pause
        if now < next_try:
            return Decision(None, done, f"{len(failed)} tries failed; the next one is at {_shown(next_try, now)}")
    last_end = _last_end(tries, now)
    return Decision(f"{position}:{len(failed)}:{int(last_end.timestamp()) if last_end else 0}", done)


def _last_end(tries: Iterable[Try], now: datetime) -> datetime | None:
    """When the last run ended. An end of the future does not count: a clock was ahead, and nobody waits until then."""
    ends = (run.ended_at for run in tries if run.ended_at is not None)
    return max((ended_at for ended_at in ends if ended_at - now <= CLOCK_SKEW), default=None)


def _shown(at: datetime, now: datetime) -> str:
    """A time of today, or with its date."""
    return f"{at:%H:%M:%S} UTC" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M:%S} UTC"


@dg.sensor(
    job=export_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks PostgreSQL, without a scan, whether the source changed, and starts the job `export` if so.",
)
def source_changed(context: dg.SensorEvaluationContext, exports: ExportsResource) -> dg.SensorResult | dg.SkipReason:
    """Look at the source and at the runs asked for so far."""
    settings = exports.settings()
    fail_dead_runs(context.instance, settings, context.log.warning)  # one would be taken for a run that is under way
    if settings.database_url is None:
        return dg.SkipReason("DATABASE_URL is unset: the embedded sample changes only by `lei-exports sample load`")
    try:
        position = probe_source(SourceAddress(settings.database_url, is_sample=False), settings.source_schema)
    except ExportError as error:
        return dg.SkipReason(printable(str(error)))
    done = json.loads(context.cursor or "{}").get("done", "")
    pause = timedelta(minutes=settings.sensor_pause_minutes)
    decision = decide(position, done, _tries(context.instance), datetime.now(UTC), pause)
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=decision.run_key, tags={POSITION_TAG: position})]
        if decision.run_key
        else [],
        skip_reason=dg.SkipReason(decision.reason) if decision.reason else None,
        cursor=json.dumps({"done": decision.done}),
        asset_events=[
            dg.AssetObservation(key_of("source", table.name), tags={"dagster/data_version": position})
            for table in SOURCE_TABLES
        ]
        if decision.run_key
        else [],
    )


def _tries(instance: dg.DagsterInstance) -> list[Try]:
    records = instance.get_run_records(dg.RunsFilter(job_name=export_job.name), limit=50)
    return [
        Try(
            position=record.dagster_run.tags.get(POSITION_TAG, ""),
            outcome=_outcome(record.dagster_run.status),
            ended_at=datetime.fromtimestamp(record.end_time, UTC) if record.end_time else None,
        )
        for record in records
    ]


def _outcome(status: dg.DagsterRunStatus) -> Outcome:
    if status == dg.DagsterRunStatus.SUCCESS:
        return "succeeded"
    return "failed" if status in {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED} else "running"
