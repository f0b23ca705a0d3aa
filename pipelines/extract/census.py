"""How many rows the snapshot has, and the proof that all of them, and no others, were read (DESIGN 3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipelines.contracts.records import Prints
from pipelines.contracts.segments import segment_name
from pipelines.errors import ExtractError
from pipelines.extract.scatter import SegmentFiles


@dataclass(frozen=True)
class Census:
    """Rows in the snapshot: by segment from the fingerprints, else by table from count(*).

    Attributes:
        prints: Fingerprints of both tables; empty where the source has none.
        counts: Rows by table, where there are no fingerprints.
    """

    prints: Prints
    counts: dict[str, int] = field(default_factory=dict)

    def rows(self) -> dict[str, int]:
        """Rows by table."""
        counted = {table: sum(p.rows for p in segments.values()) for table, segments in self.prints.items()}
        return {**counted, **self.counts}

    def compare(self, files: SegmentFiles, only: Sequence[int | None] | None, segment_size: int) -> None:
        """Compare with what was read.

        Args:
            files: What was read.
            only: Segments that were wanted; None is all.
            segment_size: Ids of `domains` per segment.

        Raises:
            ExtractError: Other rows came than the snapshot has.
        """
        read = files.rows()
        for table, rows in self.counts.items():
            if read[table] != rows:
                raise _not_whole(table, f"{rows} rows, counted in the same snapshot", f"{read[table]} rows")
        wanted = None if only is None else {segment_name(segment, segment_size) for segment in only}
        for table, segments in self.prints.items():
            expected = {name: p.rows for name, p in segments.items() if wanted is None or name in wanted}
            found = {segment_name(s.segment, segment_size): s.rows[table] for s in files.segments() if table in s.rows}
            if found != expected:
                others = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
                raise _not_whole(
                    table,
                    f"{sum(expected.values())} rows, counted by segment in the same snapshot",
                    f"{sum(found.values())} rows; other numbers in segments {', '.join(others[:5])}",
                )


def _not_whole(table: str, expected: str, found: str) -> ExtractError:
    return ExtractError(
        f"Source table {table} was not read whole",
        expected=expected,
        found=found,
        fix="start the run again; if it stays so, report it with the versions of PostgreSQL and connectorx",
    )
