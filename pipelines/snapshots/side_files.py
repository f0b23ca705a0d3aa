"""Files beside the data of a snapshot, such as report.html: made by somebody else, written and recorded here."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.contracts.records import CheckRecord, FileRecord
from pipelines.snapshots.opening import Snapshot
from pipelines.system.files import PUBLISHED_MODE, sync_file


@dataclass(frozen=True)
class SideFiles:
    """Files beside the data.

    Attributes:
        files: Their content by name; they lie directly in the snapshot's folder.
        checks: What is to be said of them; they only warn, because the data is right by now.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    checks: Sequence[CheckRecord] = ()


MakeExtras = Callable[[Snapshot, Snapshot | None], SideFiles]
"""Takes the verified new snapshot (its manifest as known by then) and the newest one before it."""


def no_extras(_: Snapshot, __: Snapshot | None) -> SideFiles:
    """No file beside the data."""
    return SideFiles()


def write_extras(folder: Path, snapshot_id: str, files: Mapping[str, bytes]) -> tuple[FileRecord, ...]:
    """Write files to the folder of a new snapshot, synced and read-only.

    Returns:
        Their records, in name order.

    Raises:
        OSError: The disk refused, or the snapshot has a file of that name.
    """
    records = []
    for name, content in sorted(files.items()):
        path = folder / name
        with path.open("xb") as file:
            file.write(content)
        path.chmod(PUBLISHED_MODE)
        sync_file(path)
        records.append(
            FileRecord(
                path=name,
                segment=None,
                rows=0,
                bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                first_snapshot=snapshot_id,
            )
        )
    return tuple(records)
