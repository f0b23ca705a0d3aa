"""The stagings of an export folder: which one is the last complete one, whose each is, and which may be removed."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pipelines.build.staging import LATEST, StagingFolder, writing
from pipelines.contracts.records import StagingRecord
from pipelines.errors import StagingError
from pipelines.system.run_lock import RunLock


@contextmanager
def new_staging(export_dir: Path, lock: RunLock) -> Iterator[StagingFolder]:
    """Make a staging folder that belongs to this run; remove it when the body fails or leaves it incomplete.

    Stagings of runs that ended are removed first, but for the last complete one.

    Raises:
        LockLostError: Another run took the lock.
        StagingError: The folder can't be made.
    """
    root = export_dir / "staging"
    folder = StagingFolder(root / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}")
    lock.require_held()
    try:
        with writing(root):
            root.mkdir(parents=True, exist_ok=True)
            latest = latest_id(export_dir)
            remove_stagings(export_dir, lock, keep=lambda folder: folder.staging_id == latest and folder.is_complete())
            lock.claim(folder.path)
            folder.path.mkdir()
    except StagingError:
        lock.remove(folder.path)
        raise
    try:
        yield folder
    finally:
        if not folder.is_complete():
            lock.remove(folder.path)


def latest_id(export_dir: Path) -> str | None:
    """Id of the staging that was completed last; None before the first."""
    try:
        return (export_dir / "staging" / LATEST).read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def latest_staging(export_dir: Path) -> StagingFolder:
    """The last complete staging.

    Raises:
        StagingError: There is none.
    """
    root = export_dir / "staging"
    latest = latest_id(export_dir)
    folder = StagingFolder(root / latest) if latest else None
    if folder is None or not folder.is_complete():
        raise StagingError(
            "Nothing is staged",
            expected=f"a complete staging under {root}",
            found="none",
            fix="materialize the staging assets first, or run the job `export`",
        )
    return folder


def latest_record(export_dir: Path) -> StagingRecord | None:
    """The record of the last complete staging; None where there is none that can be read."""
    try:
        return latest_staging(export_dir).read_record()
    except StagingError:
        return None


def claim_staging(export_dir: Path, lock: RunLock) -> StagingFolder:
    """The staging that this run works on: its own, or the last complete one, which becomes its own.

    Raises:
        BusyError: Another run that may be alive works on it.
        StagingError: There is none, or it can't be claimed.
    """
    if lock.claimed is not None:
        return StagingFolder(lock.claimed)
    staging = latest_staging(export_dir)
    with writing(staging.path):
        lock.claim(staging.path)
    return staging


def remove_stagings(export_dir: Path, lock: RunLock, keep: Callable[[StagingFolder], bool]) -> None:
    """Remove every staging that `keep` does not want and no other run works in. The lock has just been read back."""
    root = export_dir / "staging"
    if not root.is_dir():
        return
    for path in sorted(root.iterdir()):
        if path.is_dir() and not keep(StagingFolder(path)) and lock.is_free(path):
            lock.remove(path)
    lock.remove_old_claims(root)
