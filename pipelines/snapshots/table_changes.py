"""What of a table differs from the snapshot that it reuses files of: the part that has to be read."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.contracts.records import FileRecord, TableRecord
from pipelines.contracts.segments import Bounds, Segmentation
from pipelines.contracts.tables import Table
from pipelines.snapshots.duckdb_connections import in_ranges


@dataclass(frozen=True)
class TableChanges:
    """The part of a table whose rows may differ from another snapshot's, by the digests of its files.

    Attributes:
        files: Parquet files of the newer snapshot that the other one does not have, in name order.
        segments: Segments of these files and of files that are gone, ascending; None: the whole table.
        segmentation: How the ids of the newer snapshot are cut.
    """

    files: tuple[FileRecord, ...]
    segments: tuple[int, ...] | None
    segmentation: Segmentation

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not self.files and self.segments == ()

    @property
    def id_ranges(self) -> list[Bounds] | None:
        """The domain ids in it; None: every row."""
        return None if self.segments is None else self.segmentation.ranges(self.segments)

    @property
    def condition(self) -> str:
        """The SQL condition of its rows."""
        ranges = self.id_ranges
        return "true" if ranges is None else in_ranges(ranges)


def whole(record: TableRecord, segmentation: Segmentation) -> TableChanges:
    """All rows of a table."""
    return TableChanges(tuple(sorted(record.files, key=_path)), None, segmentation)


def differing(table: Table, before: TableRecord, now: TableRecord, segmentation: Segmentation) -> TableChanges:
    """What of a table changed.

    Args:
        before: Its record in the older snapshot.
        now: Its record in the newer one.
        segmentation: How the ids of the newer snapshot are cut. The cuts of the older one are among these.
    """
    old, new = {_identity(file) for file in before.files}, {_identity(file) for file in now.files}
    changed = tuple(sorted((file for file in now.files if _identity(file) not in old), key=_path))
    gone = [file for file in before.files if _identity(file) not in new]
    if not table.is_segmented:
        return TableChanges(changed, None if changed or gone else (), segmentation)
    return TableChanges(changed, _segments((*changed, *gone)), segmentation)


def _segments(files: Sequence[FileRecord]) -> tuple[int, ...] | None:
    if any(file.segment is None and file.rows for file in files):
        return None  # rows of any domain id
    return tuple(sorted({file.segment for file in files if file.segment is not None}))


def _identity(file: FileRecord) -> tuple[str, str]:
    return file.path, file.sha256


def _path(file: FileRecord) -> str:
    return file.path
