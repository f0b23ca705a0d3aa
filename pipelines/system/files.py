"""Writing files so that a crash leaves the old or the new one, never half of one (DESIGN 2.1), and their digests."""

import errno
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pipelines.errors import PublishError

PUBLISHED_MODE = 0o444
_WRITABLE = 0o222
# A day, and a little less: a run that starts at the same time each day reads all files.
_KEPT_SECONDS = 23 * 3600.0
# Of one call; the kernel may copy less.
_COPIED_BYTES = 1 << 30
# What a full disk says: no space, over the quota, over the largest file size.
FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DISK_FULL_FIX = "free space on the disk of EXPORT_DIR (an export needs room beside the last one), then run again"


def sync_file(path: Path) -> None:
    """Bring a file's content to the disk; of a folder its entries (new, renamed, removed names).

    Raises:
        OSError: The disk refused.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


sync_folder = sync_file


def seal_file(path: Path) -> None:
    """Make a file that is to be published read-only, and bring it to the disk.

    Raises:
        OSError: The disk refused.
    """
    path.chmod(PUBLISHED_MODE)
    sync_file(path)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole: next to its target, synced, then renamed over it.

    Args:
        path: The target; a temporary file `.<name>.tmp` stands next to it meanwhile.

    Raises:
        OSError: It could not be written; the target is as it was.
    """
    with written_beside(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def written_beside(path: Path, *, is_synced: bool = True) -> Iterator[Path]:
    """A path next to a file: what the block writes there is renamed over the file when the block has ended well.

    Args:
        is_synced: Bring it to the disk first, and its folder's entries afterwards.

    Raises:
        OSError: The disk refused; the file is as it was, or (where its folder can't be synced) already the new one.
    """
    temporary = temporary_path(path)
    try:
        yield temporary
        if is_synced:
            sync_file(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if is_synced:
        sync_folder(path.parent)


@contextmanager
def replace_file(target: Path) -> Iterator[BinaryIO]:
    """Write a file next to its target and rename it over it when the block has ended well.

    Meanwhile it has no name where the system can do that (Linux), so that even a killed writer leaves nothing;
    elsewhere it is hidden. A target that is a link is followed; one that is a device or pipe is written directly.

    Yields:
        The file to write, open for reading too, seekable unless the target is a pipe.

    Raises:
        OSError: It can't be written; the target is as it was.
    """
    target = Path(os.path.realpath(target))
    if target.exists() and not (target.is_file() or target.is_dir()):
        with target.open("wb") as file:
            yield file
        return
    if target.is_dir():
        raise IsADirectoryError(None, "Is a directory", str(target))
    named = target.with_name(f".lei-exports-{secrets.token_hex(8)}.tmp")
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        descriptor, has_name = _open_new(named)
        with open(descriptor, "w+b") as file:  # noqa: PTH123  of a descriptor
            yield file
            file.flush()
            os.fsync(file.fileno())
            if not has_name:
                # The folder's descriptor makes it linkat(2): link(2) would not follow /proc.
                os.link(f"/proc/self/fd/{file.fileno()}", named.name, dst_dir_fd=folder, follow_symlinks=True)
        named.replace(target)
        os.fsync(folder)
    except BaseException:
        with suppress(OSError):
            named.unlink(missing_ok=True)
        raise
    finally:
        os.close(folder)


def _open_new(named: Path) -> tuple[int, bool]:
    nameless = getattr(os, "O_TMPFILE", None)
    if nameless is not None and Path("/proc/self/fd").is_dir():
        with suppress(OSError):  # the file system can't: the plain way says what is really wrong
            return os.open(named.parent, nameless | os.O_RDWR | os.O_CLOEXEC, 0o666), False
    return os.open(named, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666), True


def temporary_path(path: Path) -> Path:
    """Where a file is written before it is renamed: hidden, in the same folder, the same on every try."""
    return path.with_name(f".{path.name}.tmp")


def link_or_copy(source: Path, target: Path) -> bool:
    """Give a file a second name, or copy it where the file system can't (another device, no links, too many).

    Args:
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
        copy_file(source, target)
        return False
    return True


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's content; where the file system shares blocks between files, nothing is copied.

    Raises:
        OSError: It can't be read or written.
    """
    try:
        with source.open("rb") as there, target.open("wb") as here:
            while os.copy_file_range(there.fileno(), here.fileno(), _COPIED_BYTES):
                pass
            is_whole = here.seek(0, os.SEEK_END) == os.fstat(there.fileno()).st_size
    except (AttributeError, OSError) as error:  # not Linux, or a file system that can't
        if isinstance(error, FileNotFoundError):
            raise
        is_whole = False
    if not is_whole:
        shutil.copyfile(source, target)


def write_failure(what: str, error: OSError) -> PublishError:
    """The error for an operator when the operating system refuses a write.

    Args:
        error: The system's error; its file's name is given, its text comes from the error number.
    """
    text = os.strerror(error.errno) if error.errno else type(error).__name__
    name = f" ({error.filename})" if isinstance(error.filename, str) else ""
    full = error.errno in FULL_DISK
    return PublishError(
        what,
        found=f"{text}{name}",
        fix=DISK_FULL_FIX if full else "give this user the right to write to EXPORT_DIR, or check the disk",
    )


def sha256_of(path: Path) -> str:
    """Digest of a file's content, lower-case hex.

    Raises:
        OSError: The file is missing or can't be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Digests:
    """Digests of files. One that was computed stands for the same file: its number, size and time of writing.

    In a run, reading a file once more says nothing new: it comes from memory. From run to run digests of files that
    nobody may write to (mode 0444) are kept for a day; so a run a day reads everything that it reuses.

    Args:
        kept: The file that they are kept in from run to run; None: they are not.
    """

    def __init__(self, kept: Path | None = None) -> None:
        self._known: dict[str, _Digest] = {}
        self._kept = kept
        self._of_earlier = _read_digests(kept) if kept is not None else {}

    def of(self, path: Path) -> str:
        """Digest of a file, under whatever name.

        Raises:
            OSError: The file is missing or can't be read.
        """
        return self.known(path) or self.remember(path, sha256_of(path))

    def remember(self, path: Path, digest: str) -> str:
        """Keep a digest, such as one that was computed elsewhere; the digest.

        Raises:
            OSError: The file is missing.
        """
        self._known[_identity(path.stat())] = (digest, time.time())
        return digest

    def known(self, path: Path) -> str | None:
        """The digest of a file, if it was computed and the file was not written since.

        Raises:
            OSError: The file is missing.
        """
        stat = path.stat()
        key = _identity(stat)
        if key not in self._known and key in self._of_earlier and not stat.st_mode & _WRITABLE:
            self._known[key] = self._of_earlier[key]
        found = self._known.get(key)
        return None if found is None else found[0]

    def keep(self) -> None:
        """Write down what was asked for in this run; what the system refuses costs the next run its time, no more."""
        if self._kept is not None:
            with suppress(OSError), written_beside(self._kept, is_synced=False) as beside:
                beside.write_text(json.dumps(self._known), encoding="ascii")

    def of_all(self, paths: Iterable[Path]) -> list[str | None]:
        """Digests of several files in the order given, on all cores (hashlib lets the others run).

        Returns:
            None in the place of a file that is missing or can't be read.
        """
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            return list(pool.map(self._try, paths))

    def _try(self, path: Path) -> str | None:
        try:
            return self.of(path)
        except OSError:
            return None


_Digest = tuple[str, float]
"""A digest, and when it was computed (Unix time)."""


def _read_digests(path: Path) -> dict[str, _Digest]:
    """Digests of earlier runs, as long as they count; none where the file is missing or is not one of ours."""
    try:
        found = {key: (str(digest), float(at)) for key, (digest, at) in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    now = time.time()
    return {key: digest for key, digest in found.items() if now - _KEPT_SECONDS < digest[1] <= now}


def _identity(stat: os.stat_result) -> str:
    return f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}"
