"""Going back to an older snapshot and forward again (DESIGN 4): after a rollback runs build but do not switch.

Belongs here: rollback.json and the switches that it causes. Does not: publishing, retention.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from pipelines.contracts.tables import Table
from pipelines.errors import SnapshotError
from pipelines.publish.files import hold_lock, sync_folder, write_atomically, write_failure
from pipelines.publish.switch import LOCK, LOCK_WAIT_SECONDS, current_id, switch_to
from pipelines.reading.finding import find_snapshot, newest_snapshot
from pipelines.reading.history import HOLD, Hold, SwitchReason, read_hold
from pipelines.reading.snapshots import CURRENT, Snapshot, list_snapshots
from pipelines.reading.verification import verify_snapshot


def rollback(
    export_dir: Path,
    snapshot_id: str,
    *,
    now: Callable[[], datetime],
    tables: Sequence[Table] | None = None,
    lock_wait_seconds: float = LOCK_WAIT_SECONDS,
) -> Hold:
    """Switch `current` to a snapshot that verifies, and hold it there until `release_rollback`.

    The hold is written before the switch: a kill between the two can't let the next run undo the rollback; that run
    makes the switch.

    Args:
        export_dir: The export folder.
        snapshot_id: Id or sequence number of the snapshot; the current one may be held too.
        now: The clock, UTC.
        tables: What its tables should be; None: this version's contract.
        lock_wait_seconds: How long to wait for a run that is publishing.

    Returns:
        What was written down.

    Raises:
        SnapshotError: There is no such snapshot, or it is damaged; nothing has changed then.
        PublishError: A run is publishing, or the disk refused.
    """
    with hold_lock(_existing(export_dir) / LOCK, lock_wait_seconds):
        target = find_snapshot(export_dir, snapshot_id)
        verify_snapshot(target, tables)
        hold = Hold(held_at=now(), snapshot_id=target.manifest.id, previous=current_id(export_dir))
        try:
            write_atomically(export_dir / HOLD, hold.model_dump_json(by_alias=True, indent=2).encode() + b"\n")
            _switch(export_dir, target, "rollback", now())
        except OSError as error:
            raise write_failure("The rollback could not be written", error) from error
    return hold


def release_rollback(
    export_dir: Path,
    *,
    now: Callable[[], datetime],
    tables: Sequence[Table] | None = None,
    lock_wait_seconds: float = LOCK_WAIT_SECONDS,
) -> Snapshot:
    """End the rollback and switch to the newest snapshot, if that verifies.

    The hold goes before the switch: after a kill between the two the next run makes the switch.

    Args:
        export_dir: The export folder.
        now: The clock, UTC.
        tables: What its tables should be; None: this version's contract.
        lock_wait_seconds: How long to wait for a run that is publishing.

    Returns:
        The snapshot that is current now.

    Raises:
        SnapshotError: No rollback is in force, or the newest snapshot is damaged; nothing has changed then.
        PublishError: A run is publishing, or the disk refused.
    """
    with hold_lock(_existing(export_dir) / LOCK, lock_wait_seconds):
        newest = newest_snapshot(export_dir)
        if read_hold(export_dir) is None or newest is None:
            raise SnapshotError(
                f"No rollback is in force in {export_dir}",
                found=f"{CURRENT} is {current_id(export_dir) or 'not there'}",
                fix="nothing is to be released: runs switch to what they publish",
            )
        try:
            verify_snapshot(newest, tables)
        except SnapshotError as error:
            raise SnapshotError(
                f"{error.what}, so the rollback stays",
                expected=error.expected,
                found=error.found,
                fix="build a sound one with lei-exports run --full-refresh, then release; or roll back to another",
            ) from None
        try:
            (export_dir / HOLD).unlink()
            sync_folder(export_dir)
            _switch(export_dir, newest, "release", now())
        except OSError as error:
            raise write_failure("The rollback could not be released", error) from error
    return newest


def complete_switch(
    export_dir: Path, at: datetime, say: Callable[[str], None], tables: Sequence[Table] | None = None
) -> None:
    """Make the switch that a killed run, rollback or release did not come to. Call it with the publish lock held.

    Args:
        export_dir: The export folder.
        at: The time, UTC.
        say: Hears of it.
        tables: What the snapshot's tables should be; None: this version's contract.

    Raises:
        SnapshotError: The snapshot to switch to is damaged.
        OSError: The disk refused.
    """
    hold = read_hold(export_dir)
    if hold is None:
        target = newest_snapshot(export_dir)
    else:
        held = [s for s in list_snapshots(export_dir).snapshots if s.manifest.id == hold.snapshot_id]
        target = held[0] if held else None
    if target is None or target.manifest.id == current_id(export_dir):
        return
    verify_snapshot(target, tables)
    switch_to(export_dir, target, "completed", at)
    say(f"{CURRENT} is snapshot {target.manifest.id}: a switch that was cut off is complete now")


def _switch(export_dir: Path, target: Snapshot, why: SwitchReason, at: datetime) -> None:
    if target.manifest.id != current_id(export_dir):
        switch_to(export_dir, target, why, at)


def _existing(export_dir: Path) -> Path:
    if not export_dir.is_dir():
        raise SnapshotError(
            f"{export_dir} is not there", expected="an export folder", fix="set EXPORT_DIR, or run an export first"
        )
    return export_dir
