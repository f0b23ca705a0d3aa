"""What a run of the tests makes once and all of its processes copy: folders of PostgreSQL, snapshots.

The process that was started makes the folder, tells its workers by an environment variable (pytest-xdist's inherit it)
and removes it at the end: tests/conftest.py.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

_VARIABLE = "LEI_EXPORTS_PREPARED"


def begin_run() -> Path | None:
    """Make the folder of this run of the tests; None in a process that is told one already."""
    if _VARIABLE in os.environ:
        return None
    # Short: the path of a Unix socket is limited to about 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="lei-", dir="/tmp" if Path("/tmp").is_dir() else None))  # noqa: S108
    folder.chmod(0o711)  # accounts that run servers pass through it
    os.environ[_VARIABLE] = str(folder)
    return folder


def end_run(folder: Path) -> None:
    """Remove what `begin_run` made."""
    del os.environ[_VARIABLE]
    shutil.rmtree(folder, ignore_errors=True)


def run_folder() -> Path:
    """The folder that all processes of this run share."""
    return Path(os.environ[_VARIABLE])


def once_per_run(name: str, make: Callable[[Path], None]) -> Path:
    """A folder that is made by the first process of this run that asks for it; nobody may change what is in it.

    Args:
        name: Of the folder; equal names are equal things.
        make: Fills an empty folder. What it raises leaves nothing: the next who asks makes it again.

    Returns:
        The folder.
    """
    root = run_folder()
    made = root / name
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        if not made.exists():
            draft = root / f"{name}.draft"
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            make(draft)
            draft.rename(made)
    return made
