"""Runs that are going on: each one holds the lock of a file of its own, from its start to the end of its process.

The kernel gives the lock back when the process ends, however it ends. So a run whose file is free is dead, also where
it never had the lock of the export folder (it waited for it), or has it no more (it is writing down how it ended).
"""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pipelines.errors import ExportError
from pipelines.system.file_lock import Holder, hold_abandoned, hold_lock, is_held

RUNNING = ".running"
_KEPT_SECONDS = 24 * 3600.0
_SUFFIX = ".lock"
_RUN_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


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

    Args:
        export_dir: The export folder that the run works on.

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
