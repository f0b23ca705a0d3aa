"""Whether a folder can be what EXPORT_DIR has to be, tried before anything is read."""

import errno
import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipelines.checks.findings import Finding
from pipelines.errors import SettingsError
from pipelines.snapshots.opening import CURRENT
from pipelines.system.files import PUBLISHED_MODE, link_or_copy, sync_file, sync_folder

_FIX = "give this user the right to write there, or set EXPORT_DIR to a folder of a local file system"


def try_export_folder(export_dir: Path) -> Finding:
    """Do in a folder what a run does there: files, links, locks, renames, and each of them brought to the disk.

    Args:
        export_dir: The folder; made where it is missing.

    Raises:
        SettingsError: It can't do what a run needs; says what, and the system's reason.
    """
    if "?" in str(export_dir):
        raise SettingsError(
            f"EXPORT_DIR {export_dir} can't be used",
            expected="a path without a question mark, which DuckDB takes for the end of a file's name",
            fix="set EXPORT_DIR to another path",
        )
    doing = "be made"
    try:
        export_dir.mkdir(parents=True, exist_ok=True)
        doing = "take files"
        with tempfile.TemporaryDirectory(prefix=".tried-", dir=export_dir) as name:
            folder = Path(name)
            has_links = True
            for what, step in _steps(folder):
                doing = what
                has_links = step() is not False and has_links
        if (export_dir / CURRENT).exists() and not (export_dir / CURRENT).is_symlink():
            raise SettingsError(
                f"EXPORT_DIR {export_dir} can't be used",
                expected=f"{CURRENT} to be a link to a snapshot, or not there",
                found="a file or folder of that name",
                fix="move it away, or set EXPORT_DIR to another folder",
            )
    except OSError as error:
        raise SettingsError(
            f"EXPORT_DIR {export_dir} can't be used",
            expected="a folder of a file system with symbolic links, locks, and fsync of files and folders",
            found=f"it can't {doing}: {_reason(error)}",
            fix=_FIX,
        ) from None
    if has_links:
        return Finding("EXPORT_DIR", "ok", f"{export_dir} takes files, links and locks")
    return Finding(
        "EXPORT_DIR",
        "warning",
        f"{export_dir} takes no hard links: every snapshot holds a copy of each unchanged file",
        "set EXPORT_DIR to a file system with hard links, where disk or time is short",
    )


def _steps(folder: Path) -> list[tuple[str, Callable[[], object]]]:
    """What it must be able to do, in the words of a message, and how that is tried."""
    file, linked, current, following = folder / "file", folder / "linked", folder / "current", folder / "next"
    built, snapshot = folder / "built", folder / "snapshot"
    return [
        ("take files", lambda: file.write_bytes(b"x")),
        ("bring a file to the disk (fsync)", lambda: sync_file(file)),
        ("bring a folder to the disk (fsync)", lambda: sync_folder(folder)),
        ("lock a file (flock)", lambda: _locked(file, fcntl.flock)),
        ("lock a file (fcntl)", lambda: _locked(file, fcntl.lockf)),
        ("link or copy a file", lambda: link_or_copy(file, linked)),
        ("make a file read-only (chmod)", lambda: file.chmod(PUBLISHED_MODE)),
        ("take symbolic links", lambda: current.symlink_to("file")),
        ("take symbolic links", lambda: following.symlink_to("linked")),
        ("rename one over another", lambda: following.replace(current)),
        ("take folders", built.mkdir),
        ("rename a folder", lambda: built.rename(snapshot)),
        ("bring a folder to the disk (fsync)", lambda: sync_folder(folder)),
    ]


def _locked(path: Path, lock: Callable[[int, int], object]) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    if error.errno is None:
        return type(error).__name__
    return f"{os.strerror(error.errno)} ({errno.errorcode.get(error.errno, error.errno)})"
