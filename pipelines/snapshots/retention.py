"""Which snapshots stay (DESIGN 4), and how one goes: out of sight first, then for good."""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from pipelines.build.stagings import latest_id, remove_stagings
from pipelines.errors import BusyError
from pipelines.snapshots.history import Switch, read_hold, read_switches
from pipelines.snapshots.opening import Snapshot, current_snapshot, list_snapshots
from pipelines.snapshots.switch import (
    DELETING,
    LOCK_WAIT_SECONDS,
    forget_switches,
    hold_publish_lock,
    remove_half_deleted,
)
from pipelines.system.run_lock import hold_run_lock

# Readers that have resolved `current` get so long to finish, whatever the settings.
RECENT = timedelta(hours=1)


@dataclass(frozen=True)
class PruneReport:
    """What retention did, or would do.

    Attributes:
        unreadable: Name of each folder that could not be read or deleted, and why; it was left.
        freed_bytes: Room on the disk that they had for themselves; files that others link stay.
    """

    deleted: tuple[str, ...]
    unreadable: dict[str, str]
    freed_bytes: int = 0
    stagings: tuple[str, ...] = ()


def prune_snapshots(  # noqa: PLR0913 - the settings of retention, and how to go about it
    export_dir: Path,
    keep_snapshots: int,
    keep_hours: float,
    now: datetime,
    *,
    keep_recent: timedelta = RECENT,
    is_trial: bool = False,
) -> PruneReport:
    """Delete the snapshots that need not stay. Call it with the publish lock held.

    Args:
        keep_snapshots: So many of the newest stay (KEEP_SNAPSHOTS).
        keep_hours: Of what was current in so many last hours one an hour stays (KEEP_HOURS).
        keep_recent: Whatever was current within this time stays.

    Raises:
        SnapshotError: `current` or rollback.json can't be read; then nothing is deleted.
        OSError: The record of switches could not be shortened.
    """
    current, hold = current_snapshot(export_dir), read_hold(export_dir)
    listing = list_snapshots(export_dir)
    unreadable = {name: error.what for name, error in listing.unreadable.items()}
    protected = {None if hold is None else hold.snapshot_id}
    if current is not None:
        protected.add(current.manifest.id)
    candidates = [
        snapshot
        for snapshot in surplus(
            listing.snapshots, read_switches(export_dir), keep_snapshots, keep_hours, now, keep_recent
        )
        if current is not None and snapshot.manifest.id not in protected and snapshot.folder != current.folder
    ]
    freed = _own_bytes([snapshot.folder for snapshot in candidates])
    if is_trial:
        return PruneReport(tuple(snapshot.manifest.id for snapshot in candidates), unreadable, freed)
    remove_half_deleted(export_dir)
    deleted: list[str] = []
    for snapshot in candidates:
        try:
            _delete(snapshot.folder)
        except OSError as error:
            unreadable[snapshot.folder.name] = f"could not be deleted: {error.strerror}"
        else:
            deleted.append(snapshot.manifest.id)
    forget_switches(export_dir)
    return PruneReport(tuple(deleted), unreadable, freed)


def prune_now(  # noqa: PLR0913 - the settings of retention, and how to go about it
    export_dir: Path,
    keep_snapshots: int,
    keep_hours: float,
    now: datetime,
    *,
    all_but_current: bool = False,
    is_trial: bool = False,
    lock_wait_seconds: float = LOCK_WAIT_SECONDS,
) -> PruneReport:
    """As `prune_snapshots`, on demand of an operator: it waits for a run that is switching. Stagings go as well.

    Args:
        all_but_current: Keep the current snapshot and no staging, whatever the settings say.

    Raises:
        BusyError: A run or a command still switches or deletes snapshots.
        LockLostError: Another one did so at the same time; nothing was deleted.
        SnapshotError: `current` or rollback.json can't be read; then nothing is deleted.
        OSError: The record of switches could not be shortened.
    """
    keep_recent = RECENT
    if all_but_current:
        keep_snapshots, keep_hours, keep_recent = 1, 0.0, timedelta(0)
    stagings = _prune_stagings(export_dir, keep_latest=not all_but_current, is_trial=is_trial)
    with hold_publish_lock(export_dir, lock_wait_seconds) as lock:
        lock.require_held()
        report = prune_snapshots(
            export_dir, keep_snapshots, keep_hours, now, keep_recent=keep_recent, is_trial=is_trial
        )
    return replace(report, stagings=tuple(stagings), freed_bytes=report.freed_bytes + sum(stagings.values()))


def _prune_stagings(export_dir: Path, *, keep_latest: bool, is_trial: bool) -> dict[str, int]:
    """Remove the stagings that no run works in; bytes by id. None while a run has the lock: it removes them itself."""
    latest = latest_id(export_dir) if keep_latest else None
    folders = [path for path in (export_dir / "staging").glob("*/") if path.name != latest]
    sizes = {path.name: _own_bytes([path]) for path in folders}
    if is_trial or not folders:
        return sizes
    try:
        with hold_run_lock(export_dir, wait_seconds=0) as lock:
            lock.require_held()
            remove_stagings(export_dir, lock, keep=lambda folder: folder.staging_id == latest)
    except BusyError:
        return {}
    return {name: size for name, size in sizes.items() if not (export_dir / "staging" / name).exists()}


def surplus(  # noqa: PLR0913, PLR0917 - what there is, and the settings of retention
    snapshots: Sequence[Snapshot],
    switches: Sequence[Switch],
    keep_snapshots: int,
    keep_hours: float,
    now: datetime,
    keep_recent: timedelta,
) -> list[Snapshot]:
    """Snapshots that neither number nor age keeps.

    Args:
        snapshots: All, in order of their sequence numbers.
        switches: What `current` pointed at, oldest first.
    """
    oldest = now - timedelta(hours=keep_hours)
    surplus = []
    older = snapshots[: max(0, len(snapshots) - keep_snapshots)]
    hours: set[datetime] = set()
    for snapshot, successor in reversed(list(zip(older, snapshots[1:], strict=False))):
        ended = _ended_at(snapshot, successor, switches)
        if ended is not None and ended > now - keep_recent:
            continue
        if ended is None or ended <= oldest or (hour := ended.replace(minute=0, second=0, microsecond=0)) in hours:
            surplus.append(snapshot)
        else:
            hours.add(hour)
    return surplus[::-1]


def _ended_at(snapshot: Snapshot, successor: Snapshot, switches: Sequence[Switch]) -> datetime | None:
    """When a snapshot was last current; None: never.

    Where the record does not tell, such as of snapshots older than it, that is when the next one was built.
    """
    snapshot_id = snapshot.manifest.id
    ends = [switch.at for switch in switches if switch.previous == snapshot_id]
    if ends:
        return max(ends)
    is_on_record = bool(switches) and snapshot.manifest.created_at > switches[0].at
    was_current = any(switch.snapshot_id == snapshot_id for switch in switches)
    return None if is_on_record and not was_current else successor.manifest.created_at


def _own_bytes(folders: Sequence[Path]) -> int:
    """Bytes of files that have no name outside of these folders."""
    names: Counter[tuple[int, int]] = Counter()
    files: dict[tuple[int, int], os.stat_result] = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                stat = path.stat()
                names[stat.st_dev, stat.st_ino] += 1
                files[stat.st_dev, stat.st_ino] = stat
    return sum(stat.st_size for inode, stat in files.items() if names[inode] >= stat.st_nlink)


def _delete(folder: Path) -> None:
    """Rename first: a half-deleted snapshot must not look like a snapshot."""
    hidden = folder.with_name(f"{DELETING}{folder.name}")
    folder.rename(hidden)
    shutil.rmtree(hidden)
