"""A file that is there whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replace_file(target: Path) -> Iterator[BinaryIO]:
    """Write a file beside its target and rename it over it when the block has ended well.

    Meanwhile it has no name where the system can do that (Linux), so that even a killed writer leaves nothing;
    elsewhere it is hidden. A target that is a link is followed; one that is a device or pipe is written directly.

    Args:
        target: The file.

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
        descriptor, has_name = _open(named)
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


def _open(named: Path) -> tuple[int, bool]:
    nameless = getattr(os, "O_TMPFILE", None)
    if nameless is not None and Path("/proc/self/fd").is_dir():
        with suppress(OSError):  # the file system can't: the plain way says what is really wrong
            return os.open(named.parent, nameless | os.O_RDWR | os.O_CLOEXEC, 0o666), False
    return os.open(named, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666), True
