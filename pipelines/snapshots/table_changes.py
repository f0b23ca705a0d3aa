"""What of a table differs from the snapshot that it reuses files of: the part that has to be read."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.contracts.records import FileRecord, TableRecord
from pipelines.contracts.segments import KeyBounds, Segmentation, join_bounds
from pipelines.contracts.tables import Table
from pipelines.snapshots.duckdb_connections import in_ranges


@dataclass(frozen=True)
class TableChanges:
    """The part of a table whose rows may differ from another snapshot's, by the digests of its files.

    Attributes:
        files: Parquet files of the newer snapshot with these rows, in name order.
        parts: Segments or key ranges of these files and of files that are gone, ascending; None: the whole table.
        column: The column that the table is divided by.
        bounds: Where each segment or key range of the newer snapshot begins and ends.
    """

    files: tuple[FileRecord, ...]
    parts: tuple[int, ...] | None
    column: str
    bounds: Mapping[int, KeyBounds]

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not self.files and self.parts == ()

    @property
    def condition(self) -> str:
        """The SQL condition of its rows."""
        return "true" if self.parts is None else in_ranges(self.column, join_bounds(self.bounds, self.parts))


def whole(table: Table, record: TableRecord, segmentation: Segmentation) -> TableChanges:
    """All rows of a table."""
    files = tuple(sorted(record.files, key=_path))
    return TableChanges(files, None, table.divided_by, bounds_of(table, record, segmentation))


def differing(table: Table, before: TableRecord, now: TableRecord, segmentation: Segmentation) -> TableChanges:
    """What of a table changed.

    Args:
        before: Its record in the older snapshot.
        now: Its record in the newer one.
        segmentation: How the ids of the newer snapshot are cut. The cuts of the older one are among these.
    """
    everything = whole(table, now, segmentation)
    old, new = {_identity(file) for file in before.files}, {_identity(file) for file in now.files}
    changed = tuple(file for file in everything.files if _identity(file) not in old)
    others = [*changed, *(file for file in before.files if _identity(file) not in new)]
    if others and (before.cuts != now.cuts or any(file.segment is None and file.rows for file in others)):
        return everything  # files of rows with any key
    parts = sorted({file.segment for file in others if file.segment is not None})
    return TableChanges(changed, tuple(parts), everything.column, everything.bounds)


def bounds_of(table: Table, record: TableRecord, segmentation: Segmentation) -> Mapping[int, KeyBounds]:
    """Where each segment, or each key range, of a table begins and ends."""
    if table.range_key is None:
        return segmentation.bounds
    return dict(enumerate(zip([None, *record.cuts], [*record.cuts, None], strict=True)))


def _identity(file: FileRecord) -> tuple[str, str]:
    return file.path, file.sha256


def _path(file: FileRecord) -> str:
    return file.path
