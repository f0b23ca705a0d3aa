"""The lock of a run: one run at a time for an export folder, from its first step to its last.

A folder that a run works in carries the run's name, and only that run writes there. Another run removes such a folder
only where its owner is certain to be gone: it ran under the same kernel, whose lock we hold now, or the folder was not
touched for a day.

Each run of Dagster holds the lock of a file of its own too, from its start to the end of its process. The kernel gives
that back when the process ends, however it ends. So a run whose file is free is dead, also where it never had the lock
of the export folder (it waited for it), or has it no more (it is writing down how it ended).
"""

import functools
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from pipelines.errors import BusyError, ExportError, LockLostError, SettingsError
from pipelines.system.file_lock import FileLock, Holder, hold_abandoned, hold_lock, is_held, read_holder
from pipelines.system.files import Digests

RUN_LOCK = ".run.lock"
WAIT_SECONDS = 600.0
# The longest silence of a living run in its folder is a query on the source: at most EXPORT_MAX_SECONDS, an hour.
_ABANDONED_SECONDS = 24 * 3600.0
_CLAIM = ".claim"
RUNNING = ".running"
# Digests of published files, from run to run.
DIGESTS = ".digests.json"
_KEPT_SECONDS = 24 * 3600.0
_SUFFIX = ".lock"
_RUN_ID = re.compile(r"[0-9A-Za-z-]{1,64}")

Settings = TypeVar("Settings")
Result = TypeVar("Result")
Options = ParamSpec("Options")


class RunLock:
    """The lock of a run that is going on; `hold_run_lock` makes one, and every step of the run gets it.

    Attributes:
        owner: Name of the run in the names of its folders: kernel and token.
        claimed: The folder that the run claimed last; None: none.
        digests: Those of files that the run has computed.
    """

    def __init__(self, lock: FileLock, digests: Digests) -> None:
        self._lock = lock
        self._claims: list[Path] = []
        self.owner = f"{lock.holder.boot}-{lock.holder.token}"
        self.claimed: Path | None = None
        self.digests = digests

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


def guarded(
    step: Callable[Concatenate[Settings, RunLock, Options], Result],
) -> Callable[Concatenate[Settings, RunLock, Options], Result]:
    """A step of a run, inside of `RunLock.guard`."""

    @functools.wraps(step)
    def run(settings: Settings, lock: RunLock, /, *args: Options.args, **options: Options.kwargs) -> Result:
        with lock.guard():
            return step(settings, lock, *args, **options)

    return run


@contextmanager
def hold_run_lock(
    export_dir: Path,
    on_wait: Callable[[Holder | None], None] = lambda _: None,
    wait_seconds: float = WAIT_SECONDS,
) -> Iterator[RunLock]:
    """Hold the lock of an export folder for a whole run; it is given back however the block ends.

    Args:
        export_dir: The export folder, made where missing.

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
        run = RunLock(lock, Digests(export_dir / DIGESTS))
        try:
            yield run
            run.digests.keep()
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


@contextmanager
def hold_running(export_dir: Path, run_id: str) -> Iterator[bool]:
    """Show that a run is going on, as long as the block lasts.

    Files of runs that ended long ago are removed: nobody asks for them any more.

    Args:
        export_dir: The export folder, made where missing.

    Yields:
        Whether it can be seen: not where the folder can't be written to.
    """
    path, is_shown = _file_of(export_dir, run_id), False
    with ExitStack() as stack:
        with suppress(OSError, ExportError):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_old(path.parent)
            stack.enter_context(hold_lock(path, wait_seconds=0))
            is_shown = True
        yield is_shown
        if is_shown:  # after an error the file stays: it shows that the run is dead
            path.unlink(missing_ok=True)


@contextmanager
def hold_dead(export_dir: Path, run_id: str) -> Iterator[Holder | None]:
    """Keep others from dealing with a dead run while the block lasts.

    Yields:
        The process that is gone; None: the run may be alive.
    """
    with hold_abandoned(_file_of(export_dir, run_id)) as holder:
        yield holder
        if holder is not None:
            with suppress(OSError):
                _file_of(export_dir, run_id).unlink()


def is_running(export_dir: Path, run_id: str) -> bool:
    """Whether a run is alive for certain."""
    return is_held(_file_of(export_dir, run_id))


def _file_of(export_dir: Path, run_id: str) -> Path:
    """The file of a run; of an id that is no name of a file, one that is never there."""
    return export_dir / RUNNING / f"{run_id if _RUN_ID.fullmatch(run_id) else '-'}{_SUFFIX}"


def _remove_old(folder: Path) -> None:
    for path in folder.glob(f"*{_SUFFIX}"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
                with hold_abandoned(path) as holder:
                    if holder is not None:
                        path.unlink()
