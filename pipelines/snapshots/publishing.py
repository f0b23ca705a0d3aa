"""Publishing a snapshot (DESIGN 3.7, 4): guards, build in a hidden folder, verify, switch, retention."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from pipelines.contracts.records import Manifest
from pipelines.errors import ExportError
from pipelines.progress import OnProgress, Progress, ignore_progress
from pipelines.snapshots.assembly import SnapshotInputs, build_snapshot
from pipelines.snapshots.guards import reference_snapshot, require_base, require_publishable, require_same_source
from pipelines.snapshots.history import RollbackHold, read_hold
from pipelines.snapshots.lookup import largest_number, newest_snapshot
from pipelines.snapshots.opening import CURRENT, SNAPSHOTS, Snapshot, require_link, try_current
from pipelines.snapshots.retention import prune_snapshots
from pipelines.snapshots.rollback import complete_switch
from pipelines.snapshots.switch import (
    LOCK_WAIT_SECONDS,
    building_folder,
    hold_publish_lock,
    promote,
    record_last_checked,
    remove_leftovers,
    switch_to,
)
from pipelines.system.files import sync_folder, write_failure
from pipelines.system.processes import uninterrupted
from pipelines.system.run_lock import RunLock

_SUFFIX_DIGITS = 8


def publish_snapshot(  # noqa: PLR0913 - what, where, and the settings of retention
    inputs: SnapshotInputs,
    *,
    export_dir: Path,
    lock: RunLock,
    keep_snapshots: int,
    keep_hours: float,
    lock_wait_seconds: float = LOCK_WAIT_SECONDS,
) -> Manifest:
    """Publish built tables as a new snapshot and switch `current` to it, or only build it while a rollback holds.

    Its id is the staging's; a staging that is published again gets its time with other last digits. The switch is the
    commit point, and one message of `on_progress` says that it was made (`Progress.published`). What fails before it
    leaves `current` as it was and nothing else behind; what fails after it (last_checked.json, retention) is reported
    through `on_progress` only, because the snapshot is published then. After the switch only an interrupt is raised.

    Args:
        lock: The lock of the run, read back right before the switch.

    Returns:
        The manifest of the new snapshot; it is current now, unless a rollback holds (history.read_hold).

    Raises:
        SourceChangedError: The source is not the published one, and the staging does not accept that.
        StagingError: The built tables are not all of this staging and contract, or its base is not the newest any more.
        SnapshotError: `current` is no link, or rollback.json can't be read.
        LockLostError: Another run took the lock.
        BusyError: A command still switches or deletes snapshots.
        PublishError: A blocking check failed, a file is damaged, the disk is full, the DuckDB file could not be built,
            or the new snapshot did not pass verification.
    """
    staging = inputs.staging
    with _disk_errors(export_dir):
        (export_dir / SNAPSHOTS).mkdir(parents=True, exist_ok=True)
    require_link(export_dir)
    with hold_publish_lock(export_dir, lock_wait_seconds) as publish_lock, _disk_errors(export_dir):
        remove_leftovers(export_dir, lock)
        if read_hold(export_dir) is not None:
            publish_lock.require_held()
            complete_switch(export_dir, inputs.now(), inputs.on_progress)
    reference, newest = reference_snapshot(export_dir), newest_snapshot(export_dir)
    published = None if reference is None else reference.manifest
    require_same_source(
        published, staging.source.identity, staging.source.address, is_accepted=staging.accept_new_source
    )
    require_base(staging, None if newest is None else newest.manifest)
    require_publishable(staging, inputs.tables, inputs.built, inputs.checks)
    snapshot_id = free_id(export_dir, staging.staging_id)
    building = building_folder(export_dir, snapshot_id, lock.owner)
    try:
        with _disk_errors(export_dir):
            building.mkdir()
            manifest = build_snapshot(
                inputs,
                building,
                snapshot_id,
                sequence=largest_number(export_dir) + 1,
                newest=newest,
                lock=lock,
            )
        with hold_publish_lock(export_dir, lock_wait_seconds) as publish_lock:
            hold = read_hold(export_dir)
            lock.require_held()
            publish_lock.require_held()
            with _disk_errors(export_dir):
                _commit(export_dir, inputs, building, manifest, hold)
            _finish(export_dir, inputs, manifest.id, hold, keep_snapshots, keep_hours)
    finally:
        shutil.rmtree(building, ignore_errors=True)  # it has another name now, where the commit was made
    return manifest


def _commit(
    export_dir: Path, inputs: SnapshotInputs, building: Path, manifest: Manifest, hold: RollbackHold | None
) -> None:
    """Give the snapshot its name, and make it current unless a rollback holds: done whole or not at all."""
    at = inputs.now()
    with uninterrupted():
        folder = promote(building, manifest.id)
        try:
            sync_folder(folder.parent)
            if hold is None:
                switch_to(export_dir, Snapshot(folder, manifest), "published", at, inputs.log)
        except OSError:
            folder.rename(building)
            raise
        if hold is None:
            with suppress(Exception):  # it is published, whatever happens to the report of it
                inputs.on_progress(Progress("publish", f"{CURRENT} is snapshot {manifest.id}", published=manifest.id))


def _finish(  # noqa: PLR0913, PLR0917 - the snapshot, and the settings of retention
    export_dir: Path,
    inputs: SnapshotInputs,
    snapshot_id: str,
    hold: RollbackHold | None,
    keep_snapshots: int,
    keep_hours: float,
) -> None:
    """What follows the commit. Its failures must not make the run look as if nothing was published."""

    def log(what: str) -> None:
        with suppress(Exception):
            inputs.log(what)

    if hold is not None:
        log(
            f"snapshot {snapshot_id} is built, but {CURRENT} stays at {hold.snapshot_id}, rolled back on"
            f" {hold.held_at:%Y-%m-%d %H:%M} UTC, until: lei-exports rollback --release"
        )
    try:
        record_last_checked(export_dir, "published" if hold is None else "held", inputs.now())
        report = prune_snapshots(export_dir, keep_snapshots, keep_hours, inputs.now())
    except Exception as error:  # noqa: BLE001  see above
        why = str(error) if isinstance(error, (OSError, ExportError)) else type(error).__name__
        log(f"{'published' if hold is None else 'built'}, but what follows failed: {why}")
        return
    for name, reason in report.unreadable.items():
        log(f"left alone for the operator: snapshots/{name}: {reason}")
    if report.deleted:
        log(f"deleted by retention: {', '.join(report.deleted)}")


def record_unchanged(
    export_dir: Path,
    lock: RunLock,
    *,
    now: Callable[[], datetime],
    on_progress: OnProgress = ignore_progress,
) -> Snapshot | None:
    """Write down that the source was looked at and is what the newest snapshot holds; nothing new is published.

    What killed runs left is removed, and where one was killed between building that snapshot and switching to it, the
    switch is made now.

    Returns:
        The snapshot that is current; None where a rollback holds one that can't be read.

    Raises:
        SnapshotError: The snapshot to switch to is damaged.
        LockLostError: Another run took the lock.
        BusyError: A command still switches or deletes snapshots.
        PublishError: last_checked.json can't be written.
    """
    with hold_publish_lock(export_dir, LOCK_WAIT_SECONDS) as publish_lock, _disk_errors(export_dir):
        remove_leftovers(export_dir, lock)
        publish_lock.require_held()
        complete_switch(export_dir, now(), on_progress)
        record_last_checked(export_dir, "unchanged", now())
        return try_current(export_dir)[0]


def free_id(export_dir: Path, staging_id: str) -> str:
    """The id of a snapshot of a staging: the staging's, or its time with other digits where that one exists.

    The digits follow from the staging's id and the number of tries, so that a repetition can be foreseen.
    """
    candidate, tries = staging_id, 0
    while (export_dir / SNAPSHOTS / candidate).exists():
        tries += 1
        digits = hashlib.sha256(f"{staging_id}/{tries}".encode()).hexdigest()[:_SUFFIX_DIGITS]
        candidate = f"{staging_id.rpartition('-')[0]}-{digits}"
    return candidate


@contextmanager
def _disk_errors(export_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise write_failure(f"The snapshot could not be written to {export_dir}", error) from error
