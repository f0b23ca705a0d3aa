"""What a run writes at its very end, checked before it reads: no hour of reading is lost to a name that is taken."""

import os
from pathlib import Path
from typing import Literal

from pipelines.errors import SnapshotError
from pipelines.snapshots.history import HOLD, LAST_CHECKED, SWITCHES, read_hold
from pipelines.snapshots.opening import SNAPSHOTS
from pipelines.snapshots.switch import SWITCH_LOCK


def require_switchable(export_dir: Path) -> None:
    """See that a snapshot can be put into an export folder, switched to, and put on record.

    Args:
        export_dir: The export folder; what is not there yet is made by the run.

    Raises:
        SnapshotError: A name is taken by something else (a folder, a pipe, a link to itself), or can't be read or
            written; or the record of a rollback can't be read.
    """
    for name in (SWITCHES, SWITCH_LOCK):
        _require_file(export_dir / name, "r+b")
    for name in (LAST_CHECKED, HOLD):  # replaced, never written to
        _require_file(export_dir / name, "rb")
    folder = export_dir / SNAPSHOTS
    if os.path.lexists(folder) and not (folder.is_dir() and os.access(folder, os.R_OK | os.W_OK | os.X_OK)):
        raise SnapshotError(
            f"{folder} can't hold a snapshot",
            expected="a folder that this user may write to",
            found="no such folder" if not folder.is_dir() else "it can't be written to",
            fix="move away what is there, or give this user the right to write there",
        )
    read_hold(export_dir)


def _require_file(path: Path, mode: Literal["rb", "r+b"]) -> None:
    if not os.path.lexists(path):
        return
    found = "something else"
    if path.is_file():
        try:
            with path.open(mode) as file:
                file.read(1)
        except OSError as error:
            found = os.strerror(error.errno) if error.errno else type(error).__name__
        else:
            return
    raise SnapshotError(
        f"{path} can't be used",
        expected="a file that this user may use",
        found=found,
        fix="move it away, or give this user the right to it; a run makes the file where it is missing",
    )
