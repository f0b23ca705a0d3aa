"""The commands about object storage: `push`, `pull`, and `verify --remote`. They need the extra `cloud`."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from assets.cli.console import new_console, print_wrapped, styled
from assets.cli.output import dispensable_output
from assets.cli.terminal import ProgressView
from pipelines.errors import SettingsError
from pipelines.progress import report_wait
from pipelines.settings import Settings, load_settings, require_store
from pipelines.snapshots.opening import published_snapshot
from pipelines.snapshots.switch import current_id
from pipelines.snapshots.verification import describe_check, raise_failed
from pipelines.system.run_lock import hold_run_lock


@dispensable_output()
def push(
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also where another export folder published there last.")
    ] = False,
    check_all: Annotated[
        bool, typer.Option("--check-all", help="Read back also what was sent earlier; send again what is damaged.")
    ] = False,
) -> None:
    """Send the current snapshot to object storage (PUBLISH_URL), as each run does: to catch up after a failure."""
    settings = load_settings()
    _required_url(settings)
    from pipelines.remote.pushing import push_snapshot  # noqa: PLC0415  needs the extra

    console = new_console()
    with ProgressView(console) as view, hold_run_lock(settings.export_dir, report_wait(view.show)):
        snapshot = published_snapshot(settings.export_dir)
        pushed = push_snapshot(settings, snapshot, view.show, replace=replace, check_all=check_all)
        view.complete()
    state = "is current now" if pushed.is_new else "was current already"
    print_wrapped(
        console,
        f"Snapshot {pushed.record.snapshot_id} (sequence {pushed.record.sequence}) {state} at {pushed.url}:"
        f" {pushed.sent_objects:,} objects, {pushed.sent_bytes:,} bytes sent in {pushed.seconds:.1f} s.",
    )
    for check in pushed.checks:
        if not check.passed:
            print_wrapped(console, styled(("Warning", "yellow"), f" {describe_check(check)}"))


@dispensable_output()
def pull(
    snapshot_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Its id; left out: the one that is current there.")
    ] = None,
    *,
    url: Annotated[str | None, typer.Option("--from", metavar="URL", help="The prefix; left out: PUBLISH_URL.")] = None,
) -> None:
    """Bring a snapshot from object storage into EXPORT_DIR and verify it; readers and `serve` find it there."""
    settings = load_settings()
    source = require_store(url) if url is not None else _required_url(settings)
    from pipelines.remote.pulling import pull_snapshot  # noqa: PLC0415  needs the extra
    from pipelines.remote.reading import open_remote  # noqa: PLC0415

    console = new_console()
    remote = open_remote(source, snapshot_id, settings.publish_retry_seconds)
    with ProgressView(console) as view, hold_run_lock(settings.export_dir, report_wait(view.show)) as lock:
        snapshot = pull_snapshot(settings, lock, remote, now=lambda: datetime.now(UTC), on_progress=view.show)
        view.complete()
    manifest = snapshot.manifest
    is_current = current_id(settings.export_dir) == manifest.id
    state = "is current" if is_current else f"is there, but not current; switch: lei-exports rollback {manifest.id}"
    print_wrapped(console, f"Snapshot {manifest.id} (sequence {manifest.sequence}) {state} in {settings.export_dir}.")


def verify_published(settings: Settings, snapshot_id: str | None) -> None:
    """Compare every object of a snapshot in object storage with its manifest, and say so.

    Args:
        snapshot_id: Its id; None: the one that is current there.

    Raises:
        SettingsError: PUBLISH_URL is unset.
        SnapshotError: It is damaged; the message names objects and tables.
        RemoteError: The store failed.
    """
    url = _required_url(settings)
    from pipelines.remote.reading import open_remote  # noqa: PLC0415  needs the extra
    from pipelines.remote.verification import verify_remote  # noqa: PLC0415

    remote = open_remote(url, snapshot_id, settings.publish_retry_seconds)
    manifest = remote.manifest()
    checks = verify_remote(remote.store, manifest, remote.record)
    raise_failed(
        checks, f"Snapshot {manifest.id} of {url} is damaged", fix="send it again: lei-exports push --check-all"
    )
    size = sum(table.bytes for table in remote.record.tables.values())
    print_wrapped(
        new_console(),
        f"Snapshot {manifest.id} of {url} is what was published: {len(remote.record.tables)} tables, {size:,} bytes.",
    )


def _required_url(settings: Settings) -> str:
    if settings.publish_url is None:
        raise SettingsError(
            "No object storage is set",
            expected="a prefix such as s3://bucket/prefix",
            found="PUBLISH_URL is unset",
            fix="set PUBLISH_URL (docs/object-storage.md)",
        )
    return settings.publish_url
