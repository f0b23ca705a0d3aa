"""Which segments of the source have to be read, found out before the read."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import psycopg

from pipelines.contracts.records import Fingerprints, Manifest
from pipelines.contracts.segments import Segmentation, in_order, segment_name, segment_number
from pipelines.source.catalog import Relation
from pipelines.source.exported_snapshot import SourceSnapshot
from pipelines.source.failed_read import explain_failed_read
from pipelines.source.fingerprint import Answer, Connection, changed_segments, take_fingerprints
from pipelines.source.ranges import plan_whole
from pipelines.source.read_watchdog import ReadWatchdog
from pipelines.source.watched_calls import run_watched


@dataclass(frozen=True)
class Changes:
    """What is in the snapshot, and which segments have to be read.

    Attributes:
        segmentation: How the ids are cut.
        fingerprints: Of all segments.
        only: The segments to read, in order; all of them without a base.
    """

    segmentation: Segmentation
    fingerprints: Fingerprints
    only: tuple[int | None, ...]

    @property
    def are_all(self) -> bool:
        """Whether every row has to be read."""
        names = {name for found in self.fingerprints.values() for name in found}
        return names <= {segment_name(number) for number in self.only}


def find_changes(snapshot: SourceSnapshot, base: Manifest | None, segment_size: int, watch: ReadWatchdog) -> Changes:
    """Take fingerprints of both tables at the same time, and compare them with the published ones.

    Args:
        snapshot: The snapshot of the source.
        base: The published snapshot that is compared with; None: every segment has to be read.
        segment_size: SEGMENT_SIZE.
        watch: Watches the queries.

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
            answers = run_watched(calls, watch)
            return {r.table.name: answer for r, answer in zip(snapshot.relations, answers, strict=True)}

        segmentation, fingerprints = take_fingerprints(
            ask_both, segment_size, base.segment_numbers if base is not None else None
        )
    names = changed_segments(base.fingerprints if base is not None else {}, fingerprints)
    return Changes(segmentation, fingerprints, tuple(in_order(map(segment_number, names))))


def _ask_or_explain(
    ask: Callable[[Connection, Relation], Answer], snapshot: SourceSnapshot, connection: Connection, relation: Relation
) -> Answer:
    """Ask; where a value can't be computed, as in a view that casts, find out in which column it is."""
    started = time.monotonic()
    try:
        # A savepoint: an error ends the transaction else, and with it the exported snapshot that explaining needs.
        with connection.transaction():
            return ask(connection, relation)
    except psycopg.DataError:
        query = plan_whole(relation).as_string(connection)
        raise explain_failed_read(snapshot, relation, query, time.monotonic() - started) from None
