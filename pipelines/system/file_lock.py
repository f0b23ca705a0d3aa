"""A lock on a file, held by one at a time, and a token in the file that shows when somebody else took the lock.

The kernel gives the lock (flock) back when its process dies, however it dies. Some file systems accept flock and do
nothing, or do it for one host only. There two can hold it, and the token tells the first one that it lost the lock.
"""

import fcntl
import json
import os
import secrets
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from pipelines.errors import BusyError, LockLostError, SettingsError
from pipelines.system.files import FULL_DISK

_POLL_SECONDS = 0.1
# Every record has this length, in one write: of two at the same time one is whole, never a mixture.
_RECORD_BYTES = 512
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: the content of its file.

    Attributes:
        token: Random, of this hold alone.
        boot: The running kernel, 8 hex digits: flock is known to exclude within one.
        since: When it took the lock, UTC.
    """

    token: str
    boot: str
    host: str
    process: int
    since: str

    def __str__(self) -> str:
        return f"process {self.process} on host {self.host}, since {self.since}"


class FileLock:
    """A lock that is held; `hold_lock` makes one.

    Attributes:
        descriptor: Open file; a child process that inherits it holds the lock until it ends too.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.holder = _new_holder()
        self._content = json.dumps(asdict(self.holder)).encode().ljust(_RECORD_BYTES)

    def write_token(self) -> None:
        """Put the token into the file.

        On a full disk the file may have no room for it. Then nobody else can write one either: what the file holds now
        stands for this holder. So snapshots can be deleted on a full disk.

        Raises:
            OSError: The file can't be written for another reason.
        """
        try:
            written = os.pwrite(self.descriptor, self._content, 0)
            os.ftruncate(self.descriptor, written)
            os.fsync(self.descriptor)
            self._content = self._content[:written]
        except OSError as error:
            if error.errno not in FULL_DISK:
                raise
            self._content = self.path.read_bytes()

    @property
    def is_lost(self) -> bool:
        """Whether somebody else took the lock, or removed its file."""
        try:
            return self.path.read_bytes() != self._content
        except FileNotFoundError:
            return True

    @cached_property
    def excludes(self) -> bool:
        """Whether flock keeps a second holder out on this file system, at least within this kernel."""
        return _is_locked(self.path)

    def require_held(self) -> None:
        """Read the token back. Call it right before what can't be undone.

        Raises:
            LockLostError: Somebody else took the lock; it names who.
        """
        if self.is_lost:
            raise self.lost_error()

    def lost_error(self) -> LockLostError:
        """What to say when the lock is lost."""
        other = read_holder(self.path)
        return LockLostError(
            f"Another run or command took the lock of {self.path.parent}, so this one stopped and changed nothing",
            expected="file locks (flock) that hold between all hosts and containers that share EXPORT_DIR",
            found=f"{other} has it" if other else f"{self.path.name} was removed or overwritten",
            fix="start everything that writes to this folder on one host, or put the folder on a file system whose"
            " locks work on all of them; then run again",
        )


@contextmanager
def hold_lock(
    path: Path, wait_seconds: float, on_wait: Callable[[Holder | None], None] = lambda _: None
) -> Iterator[FileLock]:
    """Hold the lock of a file while the block runs. A second thread of this process waits like another process.

    Args:
        path: The lock file, made where missing and never removed.
        on_wait: Called once, with the other holder, when there is one to wait for.

    Raises:
        BusyError: Somebody else still held it after `wait_seconds`.
        SettingsError: The file can't be made, written or locked.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        _wait_for(path, descriptor, wait_seconds, on_wait)
        lock = FileLock(path, descriptor)
        try:
            lock.write_token()
        except OSError as error:
            raise _unusable(path, error) from None
        yield lock
    finally:
        os.close(descriptor)


@contextmanager
def hold_abandoned(path: Path) -> Iterator[Holder | None]:
    """Hold the lock of a file whose holder has ended for certain; the file keeps its content.

    It is certain where the kernel must have given the lock back: the holder ran under this kernel, or on this host
    before its last restart, and flock works on this file system.

    Yields:
        The holder that has ended; None: it may be alive, or the file can't be read.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield _abandoned_by(path, descriptor)
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock of a file, as far as this host can see."""
    try:
        return _is_locked(path)
    except OSError:
        return False


def read_holder(path: Path) -> Holder | None:
    """Who holds the lock of a file, or held it last; None where the file does not say."""
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _abandoned_by(path: Path, descriptor: int) -> Holder | None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Where the file was removed meanwhile, this lock is on a file that nobody else sees any more.
        if not os.path.samestat(os.fstat(descriptor), path.stat()) or not _is_locked(path):
            return None
    except OSError:
        return None
    holder, ours = read_holder(path), _new_holder()
    if holder is None or (holder.boot != ours.boot and holder.host != ours.host):
        return None
    return holder


def _is_locked(path: Path) -> bool:
    """Whether flock refuses the lock of a file: another process or thread holds it.

    Raises:
        OSError: There is no such file, or it can't be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _wait_for(path: Path, descriptor: int, wait_seconds: float, on_wait: Callable[[Holder | None], None]) -> None:
    deadline = time.monotonic() + wait_seconds
    has_reported = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        except OSError as error:
            raise SettingsError(
                f"EXPORT_DIR {path.parent} can't be locked",
                expected="a file system with file locks (flock)",
                found=error.strerror or type(error).__name__,
                fix="set EXPORT_DIR to a folder on a file system that has them, such as a local disk",
            ) from None
        else:
            return
        holder = read_holder(path)
        if time.monotonic() >= deadline:
            raise BusyError(
                f"Another run or command works on {path.parent}",
                expected=f"its end within {wait_seconds:g} s",
                found=f"{holder or 'a process'} holds {path.name}",
                fix="wait for it to end, or stop it; then start this one again",
            )
        if not has_reported:
            on_wait(holder)
            has_reported = True
        time.sleep(_POLL_SECONDS)


def _new_holder() -> Holder:
    host = os.uname().nodename
    try:
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:  # not Linux
        boot = host
    return Holder(
        token=secrets.token_hex(4),
        boot=f"{zlib.crc32(boot.encode()):08x}",
        host=host,
        process=os.getpid(),
        since=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
    )


def _unusable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"EXPORT_DIR {path.parent} can't be used",
        expected="a folder that this user may write to",
        found=f"{error.strerror or type(error).__name__} ({path})",
        fix="set EXPORT_DIR to another folder, or give this user the right to write there",
    )
