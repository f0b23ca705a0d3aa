"""Starts Dagster from the terminal: one run of the job `export` in this process, or the UI."""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import dagster as dg
from dagster import DagsterInstance
from dagster._core.instance import InstanceRef
from rich.console import Console

from assets.cli.console import name_new_folder, new_console, print_wrapped, styled
from assets.cli.home import require_readable_home
from assets.cli.interrupts import end_interrupted, watch_interrupts
from assets.cli.output import dispensable_output
from assets.cli.services import run_services
from assets.cli.summary import show_publication, show_unchanged
from assets.cli.terminal import ProgressView, show_error
from assets.defs.alerting import alert_failure, alert_success, failure_reasons
from assets.defs.resources import listening
from assets.defs.run_cleanup import fail_dead_runs, try_delete_old_runs
from assets.defs.running import execute_as_command
from pipelines.checks.evaluation import count_rejects
from pipelines.errors import BusyError, ExportError, SettingsError
from pipelines.progress import Progress
from pipelines.serving.settings import listen
from pipelines.settings import Settings
from pipelines.snapshots.history import FailedRun, read_hold
from pipelines.snapshots.lookup import find_snapshot, newest_snapshot
from pipelines.snapshots.opening import current_snapshot
from pipelines.snapshots.switch import record_failed_run
from pipelines.system.file_lock import FileLock, hold_lock

HOST = "127.0.0.1"
# A daemon whose `lei-exports ui` was killed ends within seconds.
_DAEMON_WAIT_S = 5.0
# nux is the dialog that asks a newcomer for an e-mail address before the first look.
_FIRST_INSTANCE_CONFIG = """# Written by lei-exports when this folder was made; yours to change.
telemetry:
  enabled: false
nux:
  enabled: false
"""
_SECOND_INSTANCE_CONFIG = f"""{_FIRST_INSTANCE_CONFIG}\
# Each sensor has a thread: a webhook that is slow delays no other.
sensors:
  use_threads: true
  num_workers: 4
# Ticks of sensors are many and small.
retention:
  schedule:
    purge_after_days: 90
  sensor:
    purge_after_days:
      skipped: 3
      failure: 30
      success: 90
"""
_INSTANCE_CONFIG = f"""{_SECOND_INSTANCE_CONFIG}# What runs print; the page of a run has every event all the same.
python_logs:
  python_log_level: INFO
"""


def prepare_home(settings: Settings) -> None:
    """Make DAGSTER_HOME, with telemetry off, and tell Dagster where it is.

    Raises:
        SettingsError: It can't be made or written to, or what is in it can't be read.
    """
    used = [settings.export_dir, settings.dagster_home]
    name_new_folder(*used, *([settings.embedded_dir] if settings.database_url is None else []))
    config = settings.dagster_home / "dagster.yaml"
    try:
        settings.dagster_home.mkdir(parents=True, exist_ok=True)
        written_before = {_FIRST_INSTANCE_CONFIG.encode(), _SECOND_INSTANCE_CONFIG.encode()}
        if not config.exists() or config.read_bytes() in written_before:
            config.write_text(_INSTANCE_CONFIG, encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"DAGSTER_HOME {settings.dagster_home} can't be used",
            expected="a folder that this user may write to",
            found=error.strerror or type(error).__name__,
            fix="give this user the right to write there, or set DAGSTER_HOME to another folder",
        ) from None
    require_readable_home(settings.dagster_home)
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)


def launch_export(settings: Settings, started: float, chosen: Mapping[str, bool]) -> None:
    """Run the job `export` in this process, in Dagster's instance, and show what came of it.

    Output that can't be written does not fail the run. Whatever ends it, what is said of the published snapshot is
    true: the run says so itself when it has switched `current`.

    Args:
        started: When the command began, by time.monotonic(), before Dagster was loaded.
        chosen: What the operator chose, by the names of ExtractionConfig.

    Raises:
        SystemExit: With status 1 where the run failed; its error was shown. With 130 where it was interrupted.
    """
    outcome = _RunOutcome()
    with dispensable_output():
        try:
            _launch(settings, chosen, outcome, started)
        except KeyboardInterrupt:
            _record_failed(settings, outcome, None, "interrupted")
            end_interrupted(outcome.reported("The run"))


@dataclass
class _RunOutcome:
    """What the run said of its switch: the id of the snapshot that it pointed `current` at; "": it did not."""

    published: str = ""

    def update(self, progress: Progress) -> None:
        self.published = progress.published or self.published

    def reported(self, run: str) -> str:
        """What a person has to know of a run that did not end well."""
        if self.published:
            return f"{run} had published snapshot {self.published} before: that one is current."
        return f"{run} published nothing: the published snapshot is as it was."


def _record_failed(
    settings: Settings, outcome: _RunOutcome, run_id: str | None, how: Literal["interrupted", "failed"]
) -> None:
    """Let `status` know; where that can't be written, the run has said it here."""
    with suppress(OSError):
        failed = FailedRun(ended_at=datetime.now(UTC), run_id=run_id, how=how, published=outcome.published or None)
        record_failed_run(settings.export_dir, failed)


def _launch(settings: Settings, chosen: Mapping[str, bool], outcome: _RunOutcome, started: float) -> None:
    prepare_home(settings)
    from assets.defs.definitions import defs  # noqa: PLC0415  reads nothing, but belongs after the home is known

    console = new_console()
    started_at = datetime.now(UTC)
    run_config = {
        "ops": {"staging": {"config": dict(chosen)}},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
    with watch_interrupts() as has_come, _instance(settings) as instance:
        _clear_dead_runs(console, instance, settings)
        with ProgressView(console) as view:

            def listen(progress: Progress) -> None:
                outcome.update(progress)
                view.show(progress)

            with listening(listen) as errors:
                result = execute_as_command(defs, "export", run_config, instance, settings.export_dir)
            if result.success:
                view.complete()
        try_delete_old_runs(instance, timedelta(days=settings.keep_run_days), datetime.now(UTC), show_error)
    if not result.success:
        _record_failed(settings, outcome, result.run_id, "interrupted" if has_come() else "failed")
    if not result.success and has_come():
        end_interrupted(outcome.reported(f"Run {result.run_id}"))
    if not result.success:
        reasons = failure_reasons(result.all_events)
        for reason in reasons:
            show_error(errors.get(reason, reason))
        show_error(f"Run {result.run_id} failed. {outcome.reported('It')}")
        reasons += [outcome.reported("The run")] if outcome.published else []
        alert_failure(settings, result.run_id, reasons, show_error)
        sys.exit(1)
    try:
        _show_result(console, settings, result, time.monotonic() - started)
    except (ExportError, OSError) as error:  # the run has succeeded
        show_error(f"The run succeeded, but its result can't be shown: {error}")
    alert_success(settings, result.run_id, started_at, show_error)


def _clear_dead_runs(console: Console, instance: DagsterInstance, settings: Settings) -> None:
    """Mark runs as failed whose process is gone, so that none of them holds up a later one, and say so."""
    for marked in fail_dead_runs(instance, settings, show_error):
        print_wrapped(console, f"Marked as failed: {marked}")


def _show_result(console: Console, settings: Settings, result: dg.JobExecutionResult, seconds: float) -> None:
    """Show the snapshot of the run, or the one that is as the source is."""
    hold = read_hold(settings.export_dir)
    there = f" and {settings.publish_url}" if settings.publish_url is not None else ""
    built = [event.metadata for event in result.asset_materializations_for_node("published")]
    if built:
        snapshot = find_snapshot(settings.export_dir, str(built[0]["snapshot_id"].value))
        rejects = count_rejects(snapshot.scan("rejected_rows"))
        show_publication(console, snapshot.manifest, rejects, f"{snapshot.folder}{there}", seconds)
    else:
        newest = current_snapshot(settings.export_dir) if hold is None else newest_snapshot(settings.export_dir)
        if newest is None:
            return
        show_unchanged(console, newest.manifest, f"{newest.folder}{there}", seconds)
    if hold is not None:
        what = (
            f": {hold.snapshot_id} stays current since {hold.held_at:%Y-%m-%d %H:%M} UTC; the newest is used after:"
            " lei-exports rollback --release"
        )
        print_wrapped(console, styled(("Rolled back", "yellow"), what))


def _instance(settings: Settings) -> DagsterInstance:
    """Dagster's instance, for a run of the command: what it prints goes to the person alone, not through files.

    Dagster starts four processes for each step to keep and show what a step prints; in a terminal Ctrl-C reaches them
    too, and each prints a traceback.
    """
    nothing = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
    return DagsterInstance.from_ref(
        InstanceRef.from_dir(str(settings.dagster_home), overrides={"compute_logs": nothing})
    )


def serve_ui(settings: Settings, port: int, *, read_only: bool) -> None:
    """Serve Dagster's UI for this project on 127.0.0.1, with schedules and sensors, until it is stopped.

    Raises:
        SettingsError: The port is taken, or DAGSTER_HOME can't be used, or has a daemon already.
        SystemExit: With status 1 where a service ended by itself; it was said which.
    """
    prepare_home(settings)
    with listen(HOST, port) as listening, _only_daemon(settings.dagster_home) as lock:
        # This makes its database too: two services that make it at once get in each other's way.
        with DagsterInstance.get() as instance:
            _clear_dead_runs(new_console(), instance, settings)
        home = settings.dagster_home.absolute()
        why = run_services(listening, home, lock.descriptor, show_error, read_only=read_only)
    if why:
        show_error(f"{why}; everything else was stopped.")
        sys.exit(1)


@contextmanager
def _only_daemon(home: Path) -> Iterator[FileLock]:
    """Hold the lock of the daemon of a home: with two of them schedules and sensors would start each run twice.

    Raises:
        SettingsError: Another one is there, or still ends.
    """
    try:
        with hold_lock(home / "ui.lock", _DAEMON_WAIT_S) as lock:
            yield lock
    except BusyError as error:
        raise SettingsError(
            f"Another lei-exports ui serves DAGSTER_HOME {home}",
            expected="one for each DAGSTER_HOME: it runs the schedules and sensors",
            found=error.found,
            fix="use that one, stop it, or set DAGSTER_HOME to another folder",
        ) from None
