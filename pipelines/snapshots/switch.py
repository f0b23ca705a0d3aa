"""The names by which readers find things: `current`, its history, last_checked.json; what killed runs left.

Whether these names can be had is asked before a run reads: no hour of reading is lost to one that is taken.
"""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

from pipelines.errors import SnapshotError
from pipelines.snapshots.history import (
    FAILED_RUN,
    HOLD,
    LAST_CHECKED,
    SWITCHES,
    FailedRun,
    SourceCheckResult,
    Switch,
    SwitchReason,
    read_hold,
    read_switches,
)
from pipelines.snapshots.opening import CURRENT, SNAPSHOTS, Snapshot, try_current
from pipelines.system.file_lock import FileLock, hold_lock
from pipelines.system.files import sync_folder, temporary_path, write_atomically
from pipelines.system.run_lock import RunLock

SWITCH_LOCK = ".publish.lock"
# Longer than a rollback takes to verify a snapshot of millions of rows, shorter than an operator's patience.
LOCK_WAIT_SECONDS = 300.0
_BUILDING = ".building"
_TEMPORARY_LINK = ".current-"
DELETING = ".deleting-"
_REMEMBERED = 1_000


def hold_publish_lock(export_dir: Path, wait_seconds: float) -> AbstractContextManager[FileLock]:
    """The lock of what readers see: held to switch `current` and to delete snapshots, not while a run builds.

    Raises:
        BusyError: Another run or command still held it.
        SettingsError: The lock file can't be used.
    """
    return hold_lock(export_dir / SWITCH_LOCK, wait_seconds)


def building_folder(export_dir: Path, snapshot_id: str, owner: str) -> Path:
    """Where a run builds a snapshot: hidden, next to its final place, so that a rename brings it there.

    Args:
        owner: The run (RunLock.owner): no other one writes or removes there.
    """
    return export_dir / SNAPSHOTS / f".{snapshot_id}.{owner}{_BUILDING}"


def promote(building: Path, snapshot_id: str) -> Path:
    """Give a complete snapshot its name; it is not current yet.

    Raises:
        OSError: The rename failed.
    """
    return building.rename(building.with_name(snapshot_id))


def switch_to(
    export_dir: Path, snapshot: Snapshot, why: SwitchReason, at: datetime, log: Callable[[str], None] = lambda _: None
) -> None:
    """Point `current` at a snapshot by one atomic rename: the commit point. A reader sees the old one or the new one.

    The switch is put on record first: a record too many only keeps a snapshot longer.

    Args:
        snapshot: A promoted snapshot.
        log: Gets a message when the disk did not confirm the rename; it is made then all the same.

    Raises:
        OSError: The switch failed; `current` is as it was. After the rename nothing is raised.
    """
    snapshot_id = snapshot.folder.name
    switch = Switch(
        at=at, snapshot_id=snapshot_id, sequence=snapshot.manifest.sequence, previous=current_id(export_dir), why=why
    )
    _append(export_dir / SWITCHES, switch)
    link = export_dir / f"{_TEMPORARY_LINK}{snapshot_id}"
    link.unlink(missing_ok=True)
    try:
        # Relative, so that the export folder can be moved or mounted elsewhere.
        link.symlink_to(Path(SNAPSHOTS) / snapshot_id)
        link.replace(export_dir / CURRENT)
    except BaseException:
        link.unlink(missing_ok=True)
        raise
    try:
        sync_folder(export_dir)
    except OSError as error:
        with suppress(Exception):
            log(f"{CURRENT} is switched, but the disk did not confirm it: {error.strerror}")


def current_id(export_dir: Path) -> str | None:
    """The name of the folder that `current` points at, whether or not it is there."""
    link = export_dir / CURRENT
    return link.readlink().name if link.is_symlink() else None


def record_last_checked(export_dir: Path, result: SourceCheckResult, at: datetime) -> None:
    """Write down that the source was looked at, with what result, and which snapshot is current then (DESIGN 4).

    Raises:
        OSError: It could not be written; the old one stands.
    """
    current, _ = try_current(export_dir)
    content = {
        "checked_at": at.isoformat(),
        "result": result,
        "snapshot_id": None if current is None else current.manifest.id,
        "sequence": None if current is None else current.manifest.sequence,
    }
    write_atomically(export_dir / LAST_CHECKED, json.dumps(content, indent=2).encode() + b"\n")


def record_failed_run(export_dir: Path, run: FailedRun) -> None:
    """Write down that a run of the command did not succeed, for `lei-exports status`.

    Raises:
        OSError: It could not be written; the old one stands.
    """
    write_atomically(export_dir / FAILED_RUN, run.model_dump_json(indent=2).encode() + b"\n")


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


def remove_leftovers(export_dir: Path, lock: RunLock) -> None:
    """Remove what runs that ended have left. The caller holds the publish lock as well."""
    lock.require_held()
    for folder in (export_dir / SNAPSHOTS).glob(f".*{_BUILDING}"):
        if lock.is_gone(_owner_of(folder), folder):
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


def _owner_of(building: Path) -> str:
    """The run in the name of a building folder; "" where an older version gave the name."""
    _, _, owner = building.name.removeprefix(".").removesuffix(_BUILDING).partition(".")
    return owner


def _append(path: Path, switch: Switch) -> None:
    with path.open("ab") as file:
        # A crash may have cut off the line before.
        file.write(b"\n" * (path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")) + _line(switch))
        file.flush()
        os.fsync(file.fileno())


def _line(switch: Switch) -> bytes:
    return switch.model_dump_json(by_alias=True).encode() + b"\n"


def require_switchable(export_dir: Path) -> None:
    """See that a snapshot can be put into an export folder, switched to, and put on record.

    Raises:
        SnapshotError: A name is taken by something else (a folder, a pipe, a link to itself), or can't be read or
            written; or the record of a rollback can't be read.
    """
    for name in (SWITCHES, SWITCH_LOCK):
        _require_file(export_dir / name, "r+b")
    for name in (LAST_CHECKED, HOLD):  # replaced, never written to
        _require_file(export_dir / name, "rb")
    folder = export_dir / SNAPSHOTS
    if os.path.lexists(folder) and not (folder.is_dir() and os.access(folder, os.R_OK | os.W_OK | os.X_OK)):
        raise SnapshotError(
            f"{folder} can't hold a snapshot",
            expected="a folder that this user may write to",
            found="no such folder" if not folder.is_dir() else "it can't be written to",
            fix="move away what is there, or give this user the right to write there",
        )
    read_hold(export_dir)


def _require_file(path: Path, mode: Literal["rb", "r+b"]) -> None:
    if not os.path.lexists(path):
        return
    found = "something else"
    if path.is_file():
        try:
            with path.open(mode) as file:
                file.read(1)
        except OSError as error:
            found = os.strerror(error.errno) if error.errno else type(error).__name__
        else:
            return
    raise SnapshotError(
        f"{path} can't be used",
        expected="a file that this user may use",
        found=found,
        fix="move it away, or give this user the right to it; a run makes the file where it is missing",
    )
