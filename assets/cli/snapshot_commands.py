"""The commands about published snapshots: `snapshots`, `verify`, `rollback`, `prune`, `wait`."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from assets.cli.console import cell, new_console, print_wrapped, styled
from assets.cli.output import dispensable_output
from assets.cli.remote_commands import verify_published
from pipelines.contracts.records import Manifest
from pipelines.errors import SnapshotError
from pipelines.settings import load_settings
from pipelines.snapshots.history import read_hold
from pipelines.snapshots.lookup import find_snapshot, wait_for_snapshot
from pipelines.snapshots.opening import Snapshot, list_snapshots, published_snapshot, try_current
from pipelines.snapshots.retention import prune_now
from pipelines.snapshots.rollback import release_rollback, rollback
from pipelines.snapshots.switch import current_id
from pipelines.snapshots.verification import check_snapshot, describe_check, raise_failed

_MEGABYTE = 1_000_000


def show_snapshots(*, as_json: Annotated[bool, typer.Option("--json", help="As JSON, for a script.")] = False) -> None:
    """List the snapshots on disk, newest first; the current one is marked."""
    export_dir = load_settings().export_dir
    listing, hold, current = list_snapshots(export_dir), read_hold(export_dir), current_id(export_dir)
    _, problem = try_current(export_dir)
    held_id = None if hold is None else hold.snapshot_id
    newest_first = [snapshot.manifest for snapshot in reversed(listing.snapshots)]
    if as_json:
        content = {
            "current": current,
            "problem": None if problem is None else problem.what,
            "held": None if hold is None else hold.model_dump(mode="json", by_alias=True),
            "snapshots": [_facts(manifest, current) for manifest in newest_first],
            "unreadable": {name: error.what for name, error in listing.unreadable.items()},
        }
        typer.echo(json.dumps(content, indent=2))
        return
    console = new_console()
    table = Table(box=None, header_style="bold")
    for title in ("", "Snapshot", "sequence", "age", "rows", "MB", "base"):
        table.add_column(title, justify="left" if title in {"", "Snapshot"} else "right", no_wrap=True)
    now, numbers = datetime.now(UTC), {manifest.id: str(manifest.sequence) for manifest in newest_first}
    for manifest in newest_first:
        mark = "held" if manifest.id == held_id else "current"
        table.add_row(
            mark if manifest.id == current else "",
            cell(manifest.id),
            numbers[manifest.id],
            show_age((now - manifest.created_at).total_seconds()),
            f"{sum(table.rows for table in manifest.tables):,}",
            f"{manifest.bytes / _MEGABYTE:,.1f}",
            numbers.get(manifest.base_snapshot or "", "gone" if manifest.base_snapshot else ""),
        )
    console.print(table) if newest_first else print_wrapped(console, f"No snapshot in {export_dir}")
    for name, error in listing.unreadable.items():
        print_wrapped(console, styled(("Left alone", "yellow"), f" {name}: {error.what}"))
    if problem is not None:
        what = f" can't be read: {problem.what}. Run the export again, or roll back to a snapshot."
        print_wrapped(console, styled(("Current", "red"), what))
    if hold is not None:
        what = (
            f" at {hold.snapshot_id} since {hold.held_at:%Y-%m-%d %H:%M} UTC: runs build and do not switch until"
            " `lei-exports rollback --release`."
        )
        print_wrapped(console, styled(("Held", "yellow"), what))


def verify(
    snapshot_id: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="Its id or sequence number; left out: the current one."),
    ] = None,
    *,
    remote: Annotated[
        bool, typer.Option("--remote", help="The one in object storage (PUBLISH_URL): every byte is read back.")
    ] = False,
) -> None:
    """Compare every file with its digest, and DuckDB with Parquet cell by cell; exit status 1 where one differs."""
    settings = load_settings()
    if remote:
        verify_published(settings, snapshot_id)
        return
    export_dir = settings.export_dir
    snapshot = published_snapshot(export_dir) if snapshot_id is None else find_snapshot(export_dir, snapshot_id)
    checks = check_snapshot(snapshot, memory_mb=settings.database_memory_mb * 3 // 2)
    manifest = snapshot.manifest
    raise_failed(checks, f"Snapshot {manifest.id} is damaged")
    console = new_console()
    for check in checks:
        if not check.passed:
            print_wrapped(console, styled(("Warning", "yellow"), f" {describe_check(check)}"))
    files = 1 + sum(len(table.files) for table in manifest.tables)
    # A snapshot of another contract is compared file by file only, and a warning above says so.
    agree = "; DuckDB and Parquet hold the same" if all(check.passed for check in checks) else ""
    print_wrapped(
        console, f"Snapshot {manifest.id} is what was published: {files:,} files, {manifest.bytes:,} bytes{agree}."
    )


@dispensable_output()
def roll_back(
    snapshot_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Id or sequence number of the snapshot to go back to.")
    ] = None,
    *,
    release: Annotated[bool, typer.Option("--release", help="End a rollback: switch to the newest snapshot.")] = False,
) -> None:
    """Go back to a snapshot that verifies; runs build new ones but do not switch until the rollback is released."""
    if release == (snapshot_id is not None):
        raise typer.BadParameter("give the ID of a snapshot, or --release")
    export_dir, console = load_settings().export_dir, new_console()
    if release:
        newest = release_rollback(export_dir, now=_now).manifest
        print_wrapped(console, f"Released: current is the newest snapshot, {newest.id} (sequence {newest.sequence}).")
        return
    hold = rollback(export_dir, snapshot_id or "", now=_now)
    before = f", before {hold.previous}" if hold.previous not in {None, hold.snapshot_id} else ""
    print_wrapped(console, f"Held: current is {hold.snapshot_id}{before}.")
    print_wrapped(console, "Runs build new snapshots and do not switch to them until `lei-exports rollback --release`.")


@dispensable_output()
def prune(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing, say what would go.")] = False,
    all_but_current: Annotated[
        bool,
        typer.Option("--all-but-current", help="Keep no older snapshot and no staging."),
    ] = False,
) -> None:
    """Delete the snapshots that the settings do not keep, and old stagings; the current snapshot always stays."""
    settings, console = load_settings(), new_console()
    if not settings.export_dir.is_dir():
        print_wrapped(console, f"No snapshot in {settings.export_dir}")
        return
    report = prune_now(
        settings.export_dir,
        settings.keep_snapshots,
        settings.keep_hours,
        _now(),
        all_but_current=all_but_current,
        is_trial=dry_run,
    )
    for deleted in report.deleted:
        print_wrapped(console, f"{'Would delete' if dry_run else 'Deleted'} {deleted}")
    for staging in report.stagings:
        print_wrapped(console, f"{'Would delete' if dry_run else 'Deleted'} staging {staging}")
    for name, why in report.unreadable.items():
        print_wrapped(console, styled(("Left alone", "yellow"), f" {name}: {why}"))
    verb = "would free" if dry_run else "freed"
    counted = f"{len(report.deleted)} snapshots and {len(report.stagings)} stagings"
    print_wrapped(console, f"{counted}, {verb} {report.freed_bytes / _MEGABYTE:,.1f} MB.")


def wait(
    *,
    after: Annotated[
        str,
        typer.Option("--after", metavar="ID", help="Id or sequence number of the last one that you saw; 0: none."),
    ],
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", min=0, help="Longest wait; left out: for ever.")
    ] = None,
) -> None:
    """Wait until a newer snapshot is current and print its id; exit status 1 when the time is over."""
    snapshot = wait_for_snapshot(load_settings().export_dir, after, timeout)
    if snapshot is None:
        raise SnapshotError(
            f"No snapshot after {after} became current within {timeout:g} s",
            fix="wait longer, or look at the runs and at `lei-exports snapshots`",
        )
    typer.echo(snapshot.manifest.id)


def snapshot_before(export_dir: Path, snapshot: Snapshot) -> Snapshot | None:
    """The snapshot before this one."""
    earlier = [s for s in list_snapshots(export_dir).snapshots if s.manifest.sequence < snapshot.manifest.sequence]
    return earlier[-1] if earlier else None


def _facts(manifest: Manifest, current: str | None) -> dict[str, Any]:
    return {
        "id": manifest.id,
        "sequence": manifest.sequence,
        "created_at": manifest.created_at.isoformat(),
        "rows": {table.name: table.rows for table in manifest.tables},
        "bytes": manifest.bytes,
        "base_snapshot": manifest.base_snapshot,
        "contract_version": manifest.contract_version,
        "is_current": manifest.id == current,
    }


def show_age(seconds: float) -> str:
    """An age in its largest unit, such as `3 h`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _now() -> datetime:
    return datetime.now(UTC)
