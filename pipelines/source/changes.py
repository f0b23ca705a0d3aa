"""Which segments of the source have to be read, found out before the read, and whether all their rows came."""

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial

import psycopg

from pipelines.contracts.records import Fingerprint, Fingerprints, Manifest, SegmentRecord
from pipelines.contracts.segments import Segmentation, in_order, segment_name, segment_number
from pipelines.engine.local import LOCAL
from pipelines.errors import ExtractError
from pipelines.source.catalog import Relation
from pipelines.source.connection import Connection
from pipelines.source.exported_snapshot import SourceSnapshot
from pipelines.source.failed_read import explain_failed_read
from pipelines.source.fingerprint import Answer, changed_segments, take_fingerprints
from pipelines.source.ranges import plan_whole
from pipelines.source.read_watchdog import ReadWatchdog


@dataclass(frozen=True)
class Changes:
    """What is in the snapshot, and which segments have to be read.

    Attributes:
        fingerprints: Of all segments; with digests only where there is a base to compare with.
        only: The segments to read, in order; all of them without a base.
    """

    segmentation: Segmentation
    fingerprints: Fingerprints
    only: tuple[int | None, ...]

    @cached_property
    def to_read(self) -> Fingerprints:
        """Those of the segments to read."""
        names = {segment_name(number) for number in self.only}
        return {
            table: {name: found for name, found in of_table.items() if name in names}
            for table, of_table in self.fingerprints.items()
        }


def find_changes(snapshot: SourceSnapshot, base: Manifest | None, segment_size: int, watch: ReadWatchdog) -> Changes:
    """Take fingerprints of both tables at the same time, and compare them with the published ones.

    Without published ones the rows are only counted, to cut the ids into segments.

    Args:
        base: The published snapshot that is compared with; None: every segment has to be read.

    Raises:
        SourceError: A value can't be computed; the error names its column.
        ExtractError: A query failed, or the run was stopped.
    """
    with snapshot.second_connection() as second:

        def ask_both(ask: Callable[[Connection, Relation], Answer]) -> dict[str, Answer]:
            calls = [
                partial(_ask_or_explain, ask, snapshot, connection, relation)
                for connection, relation in zip((snapshot.connection, second), snapshot.relations, strict=True)
            ]
            with closing(
                LOCAL.map(
                    lambda call: call(),
                    calls,
                    memory_bytes=0,
                    at_a_time=len(calls),
                    watch=watch.raise_reason,
                    on_stop=watch.cancel,
                    on_give_up=watch.give_up,
                )
            ) as answers:
                return dict(answers)

        segmentation, fingerprints = take_fingerprints(
            ask_both, segment_size, base.segment_numbers if base is not None else None
        )
    names = changed_segments(base.fingerprints if base is not None else {}, fingerprints)
    return Changes(segmentation, fingerprints, tuple(in_order(map(segment_number, names))))


def _ask_or_explain(
    ask: Callable[[Connection, Relation], Answer], snapshot: SourceSnapshot, connection: Connection, relation: Relation
) -> tuple[str, Answer]:
    """Ask; the table's name, and the answer.

    Where a value can't be computed, as in a view that casts, find out in which column it is.
    """
    started = time.monotonic()
    try:
        # A savepoint: an error ends the transaction else, and with it the exported snapshot that explaining needs.
        with connection.transaction():
            return relation.table.name, ask(connection, relation)
    except psycopg.DataError:
        query = plan_whole(relation).as_string(connection)
        raise explain_failed_read(snapshot, relation, query, time.monotonic() - started) from None


def count_rows(fingerprints: Fingerprints) -> dict[str, int]:
    """Rows of each source table, by its name."""
    return {table: sum(found.rows for found in of_table.values()) for table, of_table in fingerprints.items()}


def require_all_rows(changes: Changes, segments: Collection[SegmentRecord]) -> None:
    """Compare what was read with the snapshot, segment by segment.

    Raises:
        ExtractError: Other rows came than the snapshot has.
    """
    read = {segment_name(segment.segment): segment.rows for segment in segments}
    for table, of_table in changes.to_read.items():
        expected = {name: found.rows for name, found in of_table.items()}
        found = {name: rows[table] for name, rows in read.items() if table in rows}
        if found != expected:
            others = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
            raise ExtractError(
                f"Source table {table} was not read whole",
                expected=f"{sum(expected.values())} rows, counted by segment in the same snapshot",
                found=f"{sum(found.values())} rows; other numbers in segments {', '.join(others[:5])}",
                fix="start the run again; if it stays so, report it with the versions of PostgreSQL and connectorx",
            )


def as_read(changes: Changes, digests: Mapping[tuple[str, int | None], int]) -> Fingerprints:
    """Fingerprints of what will be published: of the rows that were read, else of those that they were compared with.

    Args:
        changes: What was compared; as many rows were read.
        digests: Sum of the hashes of the rows that were read, by table and segment.
    """
    read = {(table, segment_name(segment)): str(digest) for (table, segment), digest in digests.items()}
    return {
        table: {
            name: Fingerprint(rows=compared.rows, digest=read.get((table, name), compared.digest))
            for name, compared in of_table.items()
        }
        for table, of_table in changes.fingerprints.items()
    }
