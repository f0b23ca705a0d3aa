"""The command `status`: what is published, how old it is, whether it is healthy, and what changed with it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from assets.cli.console import new_console
from assets.cli.snapshot_commands import show_age, snapshot_before
from assets.cli.summary import count_checks, name_warnings, show_fact, show_source
from pipelines.checks.results import checks_of, explain_warnings
from pipelines.contracts.records import Manifest
from pipelines.report.texts import format_seconds
from pipelines.settings import load_settings
from pipelines.snapshots.health import Health, evaluate_health
from pipelines.snapshots.history import FailedRun, read_failed_run
from pipelines.snapshots.opening import Snapshot, published_snapshot
from pipelines.snapshots.switch import current_id
from pipelines.system.run_lock import find_running

_RESULTS = {
    "published": "a snapshot was published",
    "held": "a snapshot was built, and a rollback holds another one",
    "unchanged": "nothing had changed",
}


def show_status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for a script.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit status 1 where it is not healthy, for cron and monitoring.")
    ] = False,
) -> None:
    """Say what is published, how old it is, whether it is healthy, and what changed with it."""
    settings = load_settings()
    export_dir = settings.export_dir
    health = evaluate_health(export_dir, settings.stale_after_hours)
    console = new_console()
    if health.unreadable is not None:
        if as_json:
            typer.echo(json.dumps(_without_snapshot(health, current_id(export_dir)), indent=2))
        else:
            _show_health(console, health)
        raise typer.Exit(1)
    snapshot = published_snapshot(export_dir)
    before = snapshot_before(export_dir, snapshot)
    if as_json:
        typer.echo(json.dumps(_as_json(health, snapshot, before, _last_failed(export_dir, health)), indent=2))
    else:
        _show(console, health, snapshot, before, export_dir)
    if check and health.problems:
        raise typer.Exit(1)


def _without_snapshot(health: Health, current: str | None) -> dict[str, Any]:
    """What is known where the published snapshot can't be read."""
    return {
        "healthy": False,
        "problems": list(health.problems),
        "snapshot": current,
        "last_checked": health.source_check.model_dump(mode="json") if health.source_check else {},
        "rolled_back": health.hold is not None,
    }


def _as_json(health: Health, snapshot: Snapshot, before: Snapshot | None, failed: FailedRun | None) -> dict[str, Any]:
    manifest = snapshot.manifest
    differences = _differences(manifest, before)
    return {
        "healthy": not health.problems,
        "problems": list(health.problems),
        "snapshot": manifest.id,
        "sequence": manifest.sequence,
        "source": manifest.source.identity,
        "source_address": manifest.source.address,
        "as_of": manifest.source.snapshot_at.isoformat(),
        "age_s": round((datetime.now(UTC) - manifest.source.snapshot_at).total_seconds()),
        "last_checked": health.source_check.model_dump(mode="json") if health.source_check else {},
        "last_failed_run": failed.model_dump(mode="json") if failed else None,
        "rows": {table.name: table.rows for table in manifest.tables},
        "changed": {"since": before.manifest.id, **differences} if before else {},
        "read": "everything" if manifest.base_snapshot is None else _segments(manifest),
        "checks": len(checks_of(manifest)),
        "warnings": [warned.name for warned in explain_warnings(manifest)],
        "work_s": round(manifest.work_s, 3),
        "rolled_back": health.hold is not None,
        "folder": str(snapshot.folder),
    }


def _show(console: Console, health: Health, snapshot: Snapshot, before: Snapshot | None, export_dir: Path) -> None:
    manifest = snapshot.manifest
    _show_health(console, health)
    show_fact(console, "Snapshot", f"{manifest.id} (sequence {manifest.sequence})")
    show_source(console, manifest.source)
    age = show_age((datetime.now(UTC) - manifest.source.snapshot_at).total_seconds())
    show_fact(console, "Age", f"{age}. {_describe_source_check(health)}")
    show_fact(console, "Rows", ", ".join(f"{table.name} {table.rows:,}" for table in manifest.tables))
    show_fact(console, "Changed", _describe_changes(manifest, before))
    warned = name_warnings(explain_warnings(manifest))
    show_fact(console, "Checks", f"{count_checks(manifest)}{': ' if warned else ''}{', '.join(warned)}")
    show_fact(console, "Took", f"{format_seconds(manifest.work_s)} to read, build and verify")
    holder, failed = find_running(export_dir), _last_failed(export_dir, health)
    if holder is not None:
        show_fact(console, "Running", f"A run or a command works on this folder now: {holder}.")
    elif failed is not None:
        show_fact(console, "Last run", _describe_failed(failed), "yellow")
    show_fact(console, "Where", str(snapshot.folder))


def _show_health(console: Console, health: Health) -> None:
    if not health.problems:
        show_fact(console, "Healthy", "yes", "green")
    for problem in health.problems:
        show_fact(console, "Problem", problem, "red")


def _describe_source_check(health: Health) -> str:
    last_check = health.source_check
    if last_check is None:
        return "It is not known when the source was last looked at."
    return f"Last look at the source: {_time(last_check.checked_at)}, {_RESULTS[last_check.result]}."


def _describe_changes(manifest: Manifest, before: Snapshot | None) -> str:
    read = "Everything was read." if manifest.base_snapshot is None else f"{_segments(manifest)}."
    if before is None:
        return f"There is no snapshot before this one. {read}"
    differences = ", ".join(f"{name} {change}" for name, change in _differences(manifest, before).items())
    rows = f"Rows since sequence {before.manifest.sequence}: {differences or 'as many in each table'}."
    return f"{rows} {read}"


def _segments(manifest: Manifest) -> str:
    count = len(manifest.changed_segments)
    return f"{count:,} segment{'' if count == 1 else 's'} changed"


def _differences(manifest: Manifest, before: Snapshot | None) -> dict[str, str]:
    """Rows more or less than in the snapshot before, of each table where they differ."""
    if before is None:
        return {}
    earlier = {table.name: table.rows for table in before.manifest.tables}
    changes = {table.name: table.rows - earlier.get(table.name, 0) for table in manifest.tables}
    return {name: f"{change:+,}" for name, change in changes.items() if change}


def _last_failed(export_dir: Path, health: Health) -> FailedRun | None:
    """The last run of the command, where it did not succeed and none has since."""
    failed = read_failed_run(export_dir)
    if failed is None or (health.source_check is not None and health.source_check.checked_at > failed.ended_at):
        return None
    return failed


def _describe_failed(failed: FailedRun) -> str:
    verb = "was interrupted" if failed.how == "interrupted" else "failed"
    published = f"It had published snapshot {failed.published}." if failed.published else "It published nothing."
    return f"The last run {verb} at {_time(failed.ended_at)}. {published}"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
