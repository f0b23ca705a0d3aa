"""Going back to an older snapshot and forward again (DESIGN 4): after a rollback runs build but do not switch."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pipelines.errors import SnapshotError
from pipelines.progress import OnProgress, Progress
from pipelines.snapshots.history import HOLD, RollbackHold, SwitchReason, read_hold
from pipelines.snapshots.lookup import find_snapshot, newest_snapshot
from pipelines.snapshots.opening import CURRENT, SNAPSHOTS, Snapshot, list_snapshots, read_number, require_link
from pipelines.snapshots.switch import LOCK_WAIT_SECONDS, current_id, hold_publish_lock, switch_to
from pipelines.snapshots.verification import verify_snapshot
from pipelines.system.files import sync_folder, write_atomically, write_failure
from pipelines.system.processes import uninterrupted


def rollback(
    export_dir: Path,
    snapshot_id: str,
    *,
    now: Callable[[], datetime],
    lock_wait_seconds: float = LOCK_WAIT_SECONDS,
) -> RollbackHold:
    """Switch `current` to a snapshot that verifies, and hold it there until `release_rollback`.

    The hold is written before the switch: a kill between the two can't let the next run undo the rollback; that run
    makes the switch. An interrupt comes before both or after both. It does not wait for a run that builds, only for one
    that switches.

    Args:
        snapshot_id: Id or sequence number of the snapshot; the current one may be held too.

    Raises:
        SnapshotError: There is no such snapshot, or it is damaged; nothing has changed then.
        BusyError: A run or a command still switches or deletes snapshots.
        LockLostError: Another one did so at the same time; nothing has changed then.
        PublishError: The disk refused; nothing has changed then.
    """
    with hold_publish_lock(_existing(export_dir), lock_wait_seconds) as lock:
        target = find_snapshot(export_dir, snapshot_id)
        verify_snapshot(target)
        hold = RollbackHold(held_at=now(), snapshot_id=target.manifest.id, previous=current_id(export_dir))
        lock.require_held()
        content = hold.model_dump_json(by_alias=True, indent=2).encode() + b"\n"
        _change_hold(export_dir, content, target, "rollback", now())
    return hold


def release_rollback(export_dir: Path, *, now: Callable[[], datetime]) -> Snapshot:
    """End the rollback and switch to the newest snapshot, if that verifies.

    The hold goes before the switch: after a kill between the two the next run makes the switch. An interrupt comes
    before both or after both.

    Returns:
        The snapshot that is current now.

    Raises:
        SnapshotError: No rollback is in force, or the newest snapshot is damaged; nothing has changed then.
        BusyError: A run or a command still switches or deletes snapshots.
        LockLostError: Another one did so at the same time; nothing has changed then.
        PublishError: The disk refused; nothing has changed then.
    """
    with hold_publish_lock(_existing(export_dir), LOCK_WAIT_SECONDS) as lock:
        newest = newest_snapshot(export_dir)
        if read_hold(export_dir) is None or newest is None:
            raise SnapshotError(
                f"No rollback is in force in {export_dir}",
                found=f"{CURRENT} is {current_id(export_dir) or 'not there'}",
                fix="nothing is to be released: runs switch to what they publish",
            )
        try:
            verify_snapshot(newest)
        except SnapshotError as error:
            raise SnapshotError(
                f"{error.what}, so the rollback stays",
                expected=error.expected,
                found=error.found,
                fix="build a sound one with lei-exports run --full-refresh, then release; or roll back to another",
            ) from None
        lock.require_held()
        _change_hold(export_dir, None, newest, "release", now())
    return newest


def complete_switch(export_dir: Path, at: datetime, on_progress: OnProgress) -> None:
    """Make the switch that a killed run, rollback or release did not come to. Call it with the publish lock held.

    Without a rollback it goes forward only: where `current` is a newer snapshot that can't be read, the next run builds
    another one.

    Raises:
        SnapshotError: The snapshot to switch to is damaged.
        OSError: The disk refused.
    """
    hold, current = read_hold(export_dir), current_id(export_dir)
    if hold is None:
        target = newest_snapshot(export_dir)
        number = None if current is None else read_number(export_dir / SNAPSHOTS / current)
        if target is not None and number is not None and number > target.manifest.sequence:
            return
    else:
        held = [s for s in list_snapshots(export_dir).snapshots if s.manifest.id == hold.snapshot_id]
        target = held[0] if held else None
    if target is None or target.manifest.id == current:
        return
    verify_snapshot(target)
    with uninterrupted():
        switch_to(export_dir, target, "completed", at)
        with suppress(Exception):
            on_progress(
                Progress(
                    "publish",
                    f"{CURRENT} is snapshot {target.manifest.id}: a switch that was cut off is complete now",
                    published=target.manifest.id,
                )
            )


def _change_hold(export_dir: Path, content: bytes | None, target: Snapshot, why: SwitchReason, at: datetime) -> None:
    """Write rollback.json (None: remove it), then switch: both or neither, where the disk refuses or Ctrl-C comes.

    Raises:
        PublishError: The disk refused.
    """
    path = export_dir / HOLD
    with uninterrupted():
        before = path.read_bytes() if path.is_file() else None
        try:
            _write_hold(path, content)
            if target.manifest.id != current_id(export_dir):
                switch_to(export_dir, target, why, at)
        except OSError as error:
            with suppress(OSError):  # put back what was there: else the next run would make that switch
                _write_hold(path, before)
            how = "written" if content else "released"
            raise write_failure(f"The rollback could not be {how}", error) from error


def _write_hold(path: Path, content: bytes | None) -> None:
    if content is not None:
        write_atomically(path, content)
        return
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def _existing(export_dir: Path) -> Path:
    if not export_dir.is_dir():
        raise SnapshotError(
            f"{export_dir} is not there", expected="an export folder", fix="set EXPORT_DIR, or run an export first"
        )
    require_link(export_dir)
    return export_dir
