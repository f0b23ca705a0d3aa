"""The names by which readers find things: `current`, its history, last_checked.json; what killed runs left beside them.

Belongs here: renames that readers notice. Does not: what is in a snapshot.
"""

import json
import os
import shutil
from datetime import datetime
from pathlib import Path

from pipelines.publish.files import sync_folder, temporary_path, write_atomically
from pipelines.reading.history import HOLD, LAST_CHECKED, SWITCHES, LookResult, Switch, SwitchReason, read_switches
from pipelines.reading.snapshots import CURRENT, SNAPSHOTS, Snapshot

LOCK = ".publish.lock"
# Longer than a publish takes (10 s for a million domains), shorter than an operator's patience.
LOCK_WAIT_SECONDS = 300.0
_BUILDING = ".building"
_TEMPORARY_LINK = ".current-"
DELETING = ".deleting-"
_REMEMBERED = 1_000


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


def switch_to(export_dir: Path, snapshot: Snapshot, why: SwitchReason, at: datetime) -> None:
    """Point `current` at a snapshot, and put it on record first: a record too many only keeps a snapshot longer.

    Args:
        export_dir: The export folder.
        snapshot: A promoted snapshot.
        why: What caused it.
        at: The time, UTC.

    Raises:
        OSError: The switch failed; `current` is as it was.
    """
    switch = Switch(
        at=at,
        snapshot_id=snapshot.manifest.id,
        sequence=snapshot.manifest.sequence,
        previous=current_id(export_dir),
        why=why,
    )
    _append(export_dir / SWITCHES, switch)
    switch_current(export_dir, snapshot.manifest.id)
    sync_folder(export_dir)


def current_id(export_dir: Path) -> str | None:
    """The name of the folder that `current` points at, whether or not it is there."""
    link = export_dir / CURRENT
    return link.readlink().name if link.is_symlink() else None


def points_at(export_dir: Path, folder: Path) -> bool:
    """Whether `current` is a link to this folder."""
    link = export_dir / CURRENT
    return link.is_symlink() and link.resolve() == folder.resolve()


def record_last_checked(
    export_dir: Path, *, checked_at: datetime, result: LookResult, snapshot_id: str | None, sequence: int | None
) -> None:
    """Write down that the source was looked at, with what result (DESIGN 4, freshness).

    Args:
        export_dir: The export folder.
        checked_at: When, UTC.
        result: `published`, `held` (built, but a rollback is in force) or `unchanged`.
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


def forget_switches(export_dir: Path) -> None:
    """Shorten the record of switches to the last ones and those that retention still asks for.

    Raises:
        OSError: It could not be written; the old one stands.
    """
    switches = read_switches(export_dir)
    if len(switches) < 2 * _REMEMBERED:
        return
    older = [s for s in switches[:-_REMEMBERED] if s.previous and (export_dir / SNAPSHOTS / s.previous).exists()]
    lines = [_line(switch) for switch in (*older, *switches[-_REMEMBERED:])]
    write_atomically(export_dir / SWITCHES, b"".join(lines))


def remove_leftovers(export_dir: Path) -> None:
    """Remove what killed runs left. The publish lock, held by the caller, proves that nobody uses it."""
    for folder in (export_dir / SNAPSHOTS).glob(f".*{_BUILDING}"):
        shutil.rmtree(folder, ignore_errors=True)
    for link in export_dir.glob(f"{_TEMPORARY_LINK}*"):
        link.unlink(missing_ok=True)
    for name in (LAST_CHECKED, HOLD, SWITCHES):
        temporary_path(export_dir / name).unlink(missing_ok=True)
    remove_half_deleted(export_dir)


def remove_half_deleted(export_dir: Path) -> None:
    """Finish the deletions of a run that was killed."""
    for folder in (export_dir / SNAPSHOTS).glob(f"{DELETING}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _append(path: Path, switch: Switch) -> None:
    with path.open("ab") as file:
        # A crash may have cut off the line before.
        file.write(b"\n" * (path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")) + _line(switch))
        file.flush()
        os.fsync(file.fileno())


def _line(switch: Switch) -> bytes:
    return switch.model_dump_json(by_alias=True).encode() + b"\n"
