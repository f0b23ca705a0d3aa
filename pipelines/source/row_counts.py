"""How many rows the snapshot has, and the proof that all of them, and no others, were read (DESIGN 3.3)."""

from collections.abc import Collection

from pipelines.contracts.records import Fingerprints
from pipelines.contracts.segments import segment_name
from pipelines.errors import ExtractError
from pipelines.source.segment_writer import SegmentFiles


def count_rows(fingerprints: Fingerprints, only: Collection[int | None] | None = None) -> dict[str, int]:
    """Rows of each source table in the snapshot, by table name.

    Args:
        fingerprints: Fingerprints of all segments.
        only: Segments that count; None is all.
    """
    names = None if only is None else {segment_name(number) for number in only}
    return {
        table: sum(found.rows for name, found in segments.items() if names is None or name in names)
        for table, segments in fingerprints.items()
    }


def require_all_rows(fingerprints: Fingerprints, files: SegmentFiles, only: Collection[int | None]) -> None:
    """Compare what was read with the snapshot, segment by segment.

    Args:
        fingerprints: Fingerprints of all segments, with their rows.
        files: What was read.
        only: Segments that were to be read.

    Raises:
        ExtractError: Other rows came than the snapshot has.
    """
    wanted = {segment_name(number) for number in only}
    read = {segment_name(segment.segment): segment.rows for segment in files.segments()}
    for table, segments in fingerprints.items():
        expected = {name: found.rows for name, found in segments.items() if name in wanted}
        found = {name: rows[table] for name, rows in read.items() if table in rows}
        if found != expected:
            others = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
            raise ExtractError(
                f"Source table {table} was not read whole",
                expected=f"{sum(expected.values())} rows, counted by segment in the same snapshot",
                found=f"{sum(found.values())} rows; other numbers in segments {', '.join(others[:5])}",
                fix="start the run again; if it stays so, report it with the versions of PostgreSQL and connectorx",
            )
