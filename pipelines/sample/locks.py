"""Locks on files that the kernel drops with their process, so that a killed run never leaves one behind.

Not those of system/file_lock.py: here several users share a lock, the server's processes hold one by a descriptor that
they inherit, and nobody has to find out who holds it.
"""

import fcntl
import os
import time
from pathlib import Path

from pipelines.errors import SampleError

_POLL_SECONDS = 0.05


class FileLock:
    """An flock on a file; each object is one holder, also within one process.

    The lock lasts until every copy of its file descriptor is closed: a child process that inherits it holds it too.

    Args:
        path: The file; created when missing, its content is never used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def try_take(self, *, shared: bool = False) -> bool:
        """Take the lock if it is free; True when this object holds it now.

        Raises:
            SampleError: The file can't be opened or locked.
        """
        try:
            fcntl.flock(self.fileno(), (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise SampleError(
                f"{self.path} can't be locked",
                expected="a folder that this user may write to, on a file system with flock",
                found=error.strerror or "",
                fix="make the folder writable for this user, or choose another one on a local disk",
            ) from error
        return True

    def take(self, wait_seconds: float) -> None:
        """Wait for the exclusive lock.

        Raises:
            SampleError: It did not become free in time, or the file can't be opened.
        """
        deadline = time.monotonic() + wait_seconds
        while not self.try_take():
            if time.monotonic() > deadline:
                raise SampleError(
                    f"{self.path} is locked",
                    expected=f"free within {wait_seconds:.0f} s",
                    found="a process that holds it",
                    fix="wait for it or end it, then try again",
                )
            time.sleep(_POLL_SECONDS)

    def fileno(self) -> int:
        """The open file descriptor; opens the file when needed (OSError where that fails)."""
        if self._fd is None:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._fd

    def close(self) -> None:
        """Close our copy of the descriptor; does nothing when it is not open."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
