"""Which snapshots stay (DESIGN 4), and how one goes: out of sight first, then for good.

Belongs here: the rule and the deletion. Does not: leftovers of killed runs other than half-deleted snapshots.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pipelines.reading.snapshots import SNAPSHOTS, Snapshot, current_snapshot, list_snapshots

DELETING = ".deleting-"


@dataclass(frozen=True)
class PruneReport:
    """What retention did.

    Attributes:
        deleted: Ids of the snapshots that are gone.
        unreadable: Name of each folder that could not be judged or deleted, and why; it was left.
    """

    deleted: tuple[str, ...]
    unreadable: dict[str, str]


def prune_snapshots(export_dir: Path, keep_snapshots: int, keep_hours: float, now: datetime) -> PruneReport:
    """Delete the snapshots that need not stay. Call it with the publish lock held.

    Args:
        export_dir: The export folder.
        keep_snapshots: So many of the newest stay (KEEP_SNAPSHOTS).
        keep_hours: What was current in so many last hours stays (KEEP_HOURS).
        now: The time.

    Returns:
        What was deleted and what was left for the operator.

    Raises:
        SnapshotError: `current` can't be resolved; then nothing is deleted.
    """
    current = current_snapshot(export_dir)
    remove_half_deleted(export_dir)
    listing = list_snapshots(export_dir)
    protected = None if current is None else current.folder
    deleted: list[str] = []
    unreadable = {name: error.what for name, error in listing.unreadable.items()}
    for snapshot in surplus(listing.snapshots, keep_snapshots, keep_hours, now):
        if protected is None or snapshot.folder == protected:
            continue
        try:
            _delete(snapshot.folder)
        except OSError as error:
            unreadable[snapshot.folder.name] = f"could not be deleted: {error.strerror}"
        else:
            deleted.append(snapshot.manifest.id)
    return PruneReport(tuple(deleted), unreadable)


def surplus(snapshots: Sequence[Snapshot], keep_snapshots: int, keep_hours: float, now: datetime) -> list[Snapshot]:
    """Snapshots that neither number nor age keeps.

    A snapshot counts as current until the next one in sequence was created, so its age begins there.

    Args:
        snapshots: All, in order of their sequence numbers.
        keep_snapshots: So many of the newest stay.
        keep_hours: What was current in so many last hours stays.
        now: The time.
    """
    oldest = now - timedelta(hours=keep_hours)
    older = snapshots[: max(0, len(snapshots) - keep_snapshots)]
    return [
        snapshot
        for snapshot, successor in zip(older, snapshots[1:], strict=False)
        if successor.manifest.created_at <= oldest
    ]


def remove_half_deleted(export_dir: Path) -> None:
    """Finish the deletions of a run that was killed."""
    for folder in (export_dir / SNAPSHOTS).glob(f"{DELETING}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _delete(folder: Path) -> None:
    """Rename first: a half-deleted snapshot must not look like a snapshot."""
    hidden = folder.with_name(f"{DELETING}{folder.name}")
    folder.rename(hidden)
    shutil.rmtree(hidden)
