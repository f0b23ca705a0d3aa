"""Writing files so that a crash leaves the old or the new one, never half of one (DESIGN 2.1)."""

import errno
import os
import shutil
from pathlib import Path

from pipelines.errors import PublishError

PUBLISHED_MODE = 0o444
# What a full disk says: no space, over the quota, over the largest file size.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def sync_file(path: Path) -> None:
    """Bring a file's content to the disk.

    Raises:
        OSError: The disk refused.
    """
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Bring a folder's entries (new, renamed, removed names) to the disk.

    Raises:
        OSError: The disk refused.
    """
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole: beside its target, synced, then renamed over it.

    Args:
        path: The target; a temporary file `.<name>.tmp` stands beside it meanwhile.
        content: What it holds afterwards.

    Raises:
        OSError: It could not be written; the target is as it was.
    """
    beside = temporary_path(path)
    try:
        beside.write_bytes(content)
        sync_file(beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def temporary_path(path: Path) -> Path:
    """Where a file is written before it is renamed: hidden, in the same folder, the same on every try."""
    return path.with_name(f".{path.name}.tmp")


def link_or_copy(source: Path, target: Path) -> bool:
    """Give a file a second name, or copy it where the file system can't (another device, no links, too many).

    Args:
        source: The file.
        target: Its new name, which must not exist.

    Returns:
        Whether it is a link.

    Raises:
        OSError: Neither was possible.
    """
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS}:
            raise
        shutil.copyfile(source, target)
        return False
    return True


def write_failure(what: str, error: OSError) -> PublishError:
    """The error for an operator when the operating system refuses a write.

    Args:
        what: What could not be written.
        error: The system's error; its file's name is given, its text comes from the error number.
    """
    text = os.strerror(error.errno) if error.errno else type(error).__name__
    name = f" ({error.filename})" if isinstance(error.filename, str) else ""
    full = error.errno in _FULL
    return PublishError(
        what,
        found=f"{text}{name}",
        fix=DISK_FULL_FIX if full else "give this user the right to write to EXPORT_DIR, or check the disk",
    )


DISK_FULL_FIX = "free space on the disk of EXPORT_DIR (an export needs room beside the last one), then run again"


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
