"""The lock of a run: one run at a time for an export folder, from its first step to its last.

A folder that a run works in carries the run's name, and only that run writes there. Another run removes such a folder
only where its owner is certain to be gone: it ran under the same kernel, whose lock we hold now, or the folder was not
touched for a day.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import BusyError, LockLostError, SettingsError
from pipelines.system.digests import Digests
from pipelines.system.file_lock import FileLock, Holder, hold_lock, is_held, read_holder

RUN_LOCK = ".run.lock"
WAIT_SECONDS = 600.0
# The longest silence of a living run in its folder is a query on the source: at most EXPORT_MAX_SECONDS, an hour.
_ABANDONED_SECONDS = 24 * 3600.0
_CLAIM = ".claim"


class RunLock:
    """The lock of a run that is going on; `hold_run_lock` makes one, and every step of the run gets it.

    Attributes:
        owner: Name of the run in the names of its folders: kernel and token.
        claimed: The folder that the run claimed last; None: none.
        digests: Those of files that the run has computed.
    """

    def __init__(self, lock: FileLock) -> None:
        self._lock = lock
        self._claims: list[Path] = []
        self.owner = f"{lock.holder.boot}-{lock.holder.token}"
        self.claimed: Path | None = None
        self.digests = Digests()

    @property
    def descriptor(self) -> int:
        """Open file of the lock; a child process that inherits it holds the lock until it ends too."""
        return self._lock.descriptor

    def require_held(self) -> None:
        """Read the token back. Call it right before what can't be undone.

        Raises:
            LockLostError: Another run took the lock.
        """
        self._lock.require_held()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Around a step of the run: it does not begin without the lock, and says so where it failed for its loss.

        Raises:
            LockLostError: Another run took the lock.
        """
        self.require_held()
        try:
            yield
        except LockLostError:
            raise
        except Exception as error:
            if self._lock.is_lost:
                raise self._lock.lost_error() from error
            raise

    def claim(self, folder: Path) -> None:
        """Make a folder this run's own until it ends. The folder need not be there yet.

        Raises:
            BusyError: Another run that may be alive works in it.
            OSError: The claim can't be written.
        """
        claim = folder.with_name(f".{folder.name}.{self.owner}{_CLAIM}")
        claim.touch()
        if not self.is_free(folder):
            claim.unlink()
            raise BusyError(
                f"Another run works in {folder}",
                expected="a folder that no other run has claimed",
                found=", ".join(path.name for path in _claims_of(folder)),
                fix="wait for that run to end; if it died on another host, run the job `export`, which makes a new one",
            )
        for other in _claims_of(folder):
            if other != claim:
                other.unlink(missing_ok=True)
        self._claims.append(claim)
        self.claimed = folder

    def is_free(self, folder: Path) -> bool:
        """Whether no other run that may be alive has claimed a folder."""
        return all(self.is_gone(_owner_of(claim), claim, folder) for claim in _claims_of(folder))

    def is_gone(self, owner: str, *paths: Path) -> bool:
        """Whether it is certain that a run has ended, or is this one.

        Args:
            owner: The run (`owner`); "": nobody, as in names that an older version gave.
            paths: What it worked in last.
        """
        if owner in {"", self.owner}:
            return True
        if owner.partition("-")[0] == self._lock.holder.boot and self._lock.excludes:
            return True
        return time.time() - max(map(_last_change, paths)) > _ABANDONED_SECONDS

    def remove(self, folder: Path) -> None:
        """Remove a folder that is free, with its claims; what can't be removed stays for the next run."""
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            for claim in _claims_of(folder):
                claim.unlink(missing_ok=True)
        if self.claimed == folder:
            self.claimed = None

    def remove_old_claims(self, parent: Path) -> None:
        """Remove the claims of ended runs to folders that are gone."""
        for claim in _claims_in(parent):
            if not _folder_of(claim).exists() and self.is_gone(_owner_of(claim), claim):
                claim.unlink(missing_ok=True)

    def end(self) -> None:
        """Give back what is claimed."""
        for claim in self._claims:
            claim.unlink(missing_ok=True)
        self._claims.clear()
        self.claimed = None


@contextmanager
def hold_run_lock(
    export_dir: Path,
    on_wait: Callable[[Holder | None], None] = lambda _: None,
    wait_seconds: float = WAIT_SECONDS,
) -> Iterator[RunLock]:
    """Hold the lock of an export folder for a whole run; it is given back however the block ends.

    Args:
        export_dir: The export folder, made where missing.
        on_wait: Called once, with the other run, when there is one to wait for.
        wait_seconds: How long to wait for another run.

    Raises:
        BusyError: Another run still held it after `wait_seconds`.
        SettingsError: The folder can't be made, written to or locked.
    """
    try:
        export_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"EXPORT_DIR {export_dir} can't be made",
            expected="a folder that this user may write to",
            found=error.strerror or type(error).__name__,
            fix="set EXPORT_DIR to another folder, or give this user the right to write there",
        ) from None
    with hold_lock(export_dir / RUN_LOCK, wait_seconds, on_wait) as lock:
        run = RunLock(lock)
        try:
            yield run
        finally:
            run.end()


def find_running(export_dir: Path) -> Holder | None:
    """The run or command that works on an export folder now, as far as this host can see; None: none."""
    path = export_dir / RUN_LOCK
    return read_holder(path) if is_held(path) else None


def _claims_in(parent: Path) -> list[Path]:
    return list(parent.glob(f".*{_CLAIM}"))


def _claims_of(folder: Path) -> list[Path]:
    return [claim for claim in _claims_in(folder.parent) if _folder_of(claim) == folder]


def _folder_of(claim: Path) -> Path:
    """A claim is named `.<folder>.<owner>.claim`."""
    return claim.with_name(claim.name.removeprefix(".").rsplit(".", 2)[0])


def _owner_of(claim: Path) -> str:
    return claim.name.rsplit(".", 2)[1]


def _last_change(path: Path) -> float:
    """When a file, or anything in a folder, was last written; 0 where it is gone."""
    newest = 0.0
    for each in (path, *path.rglob("*")):
        try:
            newest = max(newest, each.lstat().st_mtime)
        except OSError:
            continue
    return newest
