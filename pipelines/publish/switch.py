"""The names by which readers find things: `current` and last_checked.json, and what killed runs left beside them.

Belongs here: renames that readers notice. Does not: what is in a snapshot.
"""

import json
import shutil
from datetime import datetime
from pathlib import Path

from pipelines.publish.files import sync_folder, write_atomically
from pipelines.publish.retention import remove_half_deleted
from pipelines.reading.snapshots import CURRENT, SNAPSHOTS

LAST_CHECKED = "last_checked.json"
_BUILDING = ".building"
_TEMPORARY_LINK = ".current-"


def building_folder(export_dir: Path, snapshot_id: str) -> Path:
    """Where a snapshot is built: hidden, beside its final place, so that a rename brings it there."""
    return export_dir / SNAPSHOTS / f".{snapshot_id}{_BUILDING}"


def promote(building: Path, snapshot_id: str) -> Path:
    """Give a complete snapshot its name; it is not current yet.

    Raises:
        OSError: The rename failed.
    """
    folder = building.with_name(snapshot_id)
    building.rename(folder)
    sync_folder(folder.parent)
    return folder


def switch_current(export_dir: Path, snapshot_id: str) -> None:
    """Point `current` at a snapshot by one atomic rename; a reader sees the old one or the new one.

    Args:
        export_dir: The export folder.
        snapshot_id: A promoted snapshot.

    Raises:
        OSError: The switch failed; `current` is as it was.
    """
    beside = export_dir / f"{_TEMPORARY_LINK}{snapshot_id}"
    beside.unlink(missing_ok=True)
    try:
        # Relative, so that the export folder can be moved or mounted elsewhere.
        beside.symlink_to(Path(SNAPSHOTS) / snapshot_id)
        beside.replace(export_dir / CURRENT)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def points_at(export_dir: Path, folder: Path) -> bool:
    """Whether `current` is a link to this folder."""
    link = export_dir / CURRENT
    return link.is_symlink() and link.resolve() == folder.resolve()


def record_last_checked(
    export_dir: Path, *, checked_at: datetime, result: str, snapshot_id: str | None, sequence: int | None
) -> None:
    """Write down that the source was looked at, with what result (DESIGN 4, freshness).

    Args:
        export_dir: The export folder.
        checked_at: When, UTC.
        result: `published`, or another word for what came of it.
        snapshot_id: The snapshot that is current afterwards.
        sequence: Its sequence number.

    Raises:
        OSError: It could not be written; the old one stands.
    """
    content = {
        "checked_at": checked_at.isoformat(),
        "result": result,
        "snapshot_id": snapshot_id,
        "sequence": sequence,
    }
    write_atomically(export_dir / LAST_CHECKED, json.dumps(content, indent=2).encode() + b"\n")


def remove_leftovers(export_dir: Path) -> None:
    """Remove what killed runs left. The publish lock, held by the caller, proves that nobody uses it."""
    for folder in (export_dir / SNAPSHOTS).glob(f".*{_BUILDING}"):
        shutil.rmtree(folder, ignore_errors=True)
    for link in export_dir.glob(f"{_TEMPORARY_LINK}*"):
        link.unlink(missing_ok=True)
    remove_half_deleted(export_dir)
