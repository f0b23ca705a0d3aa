"""Starts Dagster from the terminal: one run of the job `export` in this process, or the UI.

Belongs here: Dagster's home, instance and run. Does not: what a run does (jobs.py), what a person sees (terminal.py).
"""

import logging
import os
import sys
import time
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterInstance
from dagster._core.instance import InstanceRef
from rich.console import Console

from assets.alerting import alert_failure, alert_success, failure_reasons
from assets.console import new_console, styled
from assets.interrupts import end_interrupted, watch_interrupts
from assets.resources import listening
from assets.services import run_services
from assets.terminal import ProgressView, show_error, show_publication, show_unchanged
from pipelines.checks.reconciliation import count_rejects
from pipelines.errors import SnapshotError
from pipelines.reading.finding import newest_snapshot
from pipelines.reading.history import read_hold
from pipelines.reading.snapshots import current_snapshot
from pipelines.settings import Settings

# nux is the dialog that asks a newcomer for an e-mail address before the first look.
_INSTANCE_CONFIG = """# Written by lei-exports when this folder was made; yours to change.
telemetry:
  enabled: false
nux:
  enabled: false
# Each sensor has a thread: a webhook that is slow delays no other.
sensors:
  use_threads: true
  num_workers: 4
"""


def prepare_home(settings: Settings) -> None:
    """Make DAGSTER_HOME, with telemetry off, and tell Dagster where it is."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    config = settings.dagster_home / "dagster.yaml"
    if not config.exists():
        config.write_text(_INSTANCE_CONFIG, encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)


def launch_export(
    settings: Settings, *, accept_new_source: bool, accept_shrink: bool, full_refresh: bool = False
) -> None:
    """Run the job `export` in this process, in Dagster's instance, and show what came of it.

    Raises:
        SystemExit: With status 1 where the run failed; its error was shown.
    """
    prepare_home(settings)
    from assets.definitions import defs  # noqa: PLC0415  reads nothing, but belongs after the home is known

    console = new_console()
    started, started_at = time.monotonic(), datetime.now(UTC)
    accepted = {
        "accept_new_source": accept_new_source,
        "accept_shrink": accept_shrink,
        "full_refresh": full_refresh,
    }
    before = _newest_id(settings)
    run_config = {
        "ops": {"staging": {"config": accepted}},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
    # Where nothing changed, later steps are skipped, and Dagster warns of each blocking check that they did not emit.
    logging.getLogger("dagster._core.execution.plan.active").setLevel(logging.ERROR)
    try:
        with (
            watch_interrupts() as has_come,
            _instance(settings) as instance,
            ProgressView(console) as view,
            listening(view.show),
        ):
            result = defs.resolve_job_def("export").execute_in_process(
                run_config=run_config, instance=instance, raise_on_error=False
            )
    except KeyboardInterrupt:
        end_interrupted(_outcome(settings, before, "The run"))
    if not result.success and has_come():
        end_interrupted(_outcome(settings, before, f"Run {result.run_id}"))
    if not result.success:
        for message in _failures(result):
            show_error(message)
        show_error(f"Run {result.run_id} failed; the published snapshot is as it was.")
        alert_failure(settings, result.run_id, failure_reasons(result.all_events), show_error)
        sys.exit(1)
    _show_result(console, settings, before, time.monotonic() - started)
    alert_success(settings, result.run_id, started_at, show_error)


def _show_result(console: Console, settings: Settings, before: str | None, seconds: float) -> None:
    """Show the newest snapshot: it is current, but for a rollback that is in force."""
    hold = read_hold(settings.export_dir)
    snapshot = current_snapshot(settings.export_dir) if hold is None else newest_snapshot(settings.export_dir)
    if snapshot is None:
        return
    if snapshot.manifest.id == before:
        show_unchanged(console, snapshot.manifest, str(snapshot.folder), seconds)
    else:
        rejects = count_rejects(snapshot.scan("rejected_rows"))
        show_publication(console, snapshot.manifest, rejects, str(snapshot.folder), seconds)
    if hold is not None:
        what = (
            f": {hold.snapshot_id} stays current since {hold.held_at:%Y-%m-%d %H:%M} UTC; the newest is used after:"
            " lei-exports rollback --release"
        )
        console.print(styled(("Rolled back", "yellow"), what))


def _instance(settings: Settings) -> DagsterInstance:
    """Dagster's instance, for a run of the command: what it prints goes to the person alone, not through files.

    Dagster starts four processes for each step to keep and show what a step prints; in a terminal Ctrl-C reaches them
    too, and each prints a traceback.
    """
    nothing = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
    return DagsterInstance.from_ref(
        InstanceRef.from_dir(str(settings.dagster_home), overrides={"compute_logs": nothing})
    )


def _outcome(settings: Settings, before: str | None, run: str) -> str:
    """What an interrupted run had done by then."""
    newest = _newest_id(settings)
    return f"{run} published nothing." if newest == before else f"{run} had built snapshot {newest} already."


def _newest_id(settings: Settings) -> str | None:
    """Id of the newest snapshot; None where there is none, or it can't be read: the run will say so."""
    try:
        snapshot = newest_snapshot(settings.export_dir)
    except SnapshotError:
        return None
    return snapshot.manifest.id if snapshot else None


def serve_ui(settings: Settings, port: int, *, read_only: bool = False) -> None:
    """Serve Dagster's UI for this project, with schedules and sensors, until it is stopped.

    Args:
        settings: Where Dagster's home is.
        port: On 127.0.0.1.
        read_only: Nothing can be started or changed in the UI.

    Raises:
        SystemExit: With status 1 where a service ended by itself; it said why.
    """
    prepare_home(settings)
    with DagsterInstance.get():  # makes its database: two services that make it at once get in each other's way
        pass
    status = run_services(port, read_only=read_only)
    if status:
        show_error(f"A service of Dagster ended by itself, with status {status}; the others were stopped.")
        sys.exit(1)


def _failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """Why steps failed, in our words where there are any."""
    messages = []
    for event in result.all_node_events:
        if event.event_type_value == "STEP_FAILURE":
            failure = event.step_failure_data
            described = failure.user_failure_data.description if failure.user_failure_data else None
            error = failure.error
            messages.append(described or (error.message.strip() if error else "a step failed"))
    return messages
