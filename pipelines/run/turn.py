"""One run at a time for an export folder: a second one waits for its turn, and is refused when that takes too long.

The turn begins with staging and ends with publishing, over the steps of a run in one process; the kernel takes it back
from a process that dies. A step that is run alone takes it for itself.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import BusyError, SettingsError
from pipelines.progress import OnProgress, Progress

WAIT_SECONDS = 600.0
_POLL_SECONDS = 0.2
_FILE = ".run.lock"
_held: dict[Path, int] = {}
_guard = threading.Lock()


def take_turn(export_dir: Path, on_progress: OnProgress, wait_seconds: float = WAIT_SECONDS) -> bool:
    """Take the turn and keep it; whether it is new to this process (else it had it already).

    Raises:
        BusyError: Another process still had it after `wait_seconds`.
        SettingsError: The folder can't be made or written to.
    """
    path = export_dir / _FILE
    with _guard:
        if path in _held:
            return False
        descriptor = _open(path)
        try:
            _wait_for(descriptor, path, on_progress, wait_seconds)
        except BaseException:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        _held[path] = descriptor
    return True


def end_turn(export_dir: Path) -> None:
    """Give the turn back; nothing where this process does not have it."""
    with _guard:
        descriptor = _held.pop(export_dir / _FILE, None)
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def in_turn(export_dir: Path, on_progress: OnProgress, *, keep: bool = False) -> Iterator[None]:
    """Have the turn during the body.

    Args:
        export_dir: The export folder.
        on_progress: Hears that the run waits.
        keep: Keep it after a body that succeeds, for the run's next step.

    Raises:
        BusyError: As `take_turn`.
    """
    is_new = take_turn(export_dir, on_progress)
    try:
        yield
    except BaseException:
        end_turn(export_dir)
        raise
    if is_new and not keep:
        end_turn(export_dir)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise SettingsError(
            f"EXPORT_DIR {path.parent} can't be used",
            expected="a folder that this user may write to",
            found=error.strerror or type(error).__name__,
            fix="set EXPORT_DIR to another folder, or give this user the right to write there",
        ) from None


def _wait_for(descriptor: int, path: Path, on_progress: OnProgress, wait_seconds: float) -> None:
    until = time.monotonic() + wait_seconds
    has_said = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = path.read_text(encoding="ascii", errors="replace") or "unknown"
            if time.monotonic() > until:
                raise BusyError(
                    f"Another run works on {path.parent}",
                    expected=f"its end within {wait_seconds:.0f} s",
                    found=f"process {holder} still has its turn",
                    fix="wait for that run to end, or stop it; then start this one again",
                ) from None
            if not has_said:
                on_progress(Progress("wait", f"for the run of process {holder}"))
                has_said = True
            time.sleep(_POLL_SECONDS)
        else:
            return
