"""The extraction of one run: snapshot, parallel reads, staging, and the proof that nothing is missing (DESIGN 3)."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import dataframely as dy
import pyarrow as pa

from pipelines.build.staging import StagingFolder
from pipelines.contracts.records import Manifest, SourceRecord, StagingRecord
from pipelines.contracts.source import SourceTable, source_columns
from pipelines.errors import ExtractError
from pipelines.progress import OnProgress, Progress
from pipelines.source.catalog import Relation
from pipelines.source.changes import Changes, count_rows, find_changes, require_all_rows
from pipelines.source.chunk import clean_chunk
from pipelines.source.connection import SourceAddress
from pipelines.source.exported_snapshot import SourceSnapshot
from pipelines.source.failed_read import explain_failed_read
from pipelines.source.preflight import open_snapshot, wanted_connections
from pipelines.source.ranges import plan_ranges
from pipelines.source.read_watchdog import ReadWatchdog
from pipelines.source.reader import read_query
from pipelines.source.segment_writer import SegmentFiles
from pipelines.source.workers import Workers, cancel_until_done, wait_for
from pipelines.system.memory import trim_memory


@dataclass(frozen=True)
class ExtractOptions:
    """How to read.

    Attributes:
        schema: Schema of both tables.
        read_connections: Reads at a time.
        timeout_s: Longest time that the snapshot may be held, seconds.
        base: Snapshot whose unchanged segments need not be read again; None reads all.
    """

    schema: str
    segment_size: int
    read_connections: int
    timeout_s: float
    include_full_data: bool
    base: Manifest | None = None


@dataclass
class _Reading:
    """What the threads of a read share."""

    snapshot: SourceSnapshot
    files: SegmentFiles
    options: ExtractOptions
    on_progress: OnProgress
    columns: dict[str, dict[str, dy.Column]]
    total: int
    done: int = 0
    reported: int = 0
    what: str = ""
    nulled: Counter[str] = field(default_factory=Counter)
    guard: threading.Lock = field(default_factory=threading.Lock)
    has_failed: threading.Event = field(default_factory=threading.Event)

    def read(self, relation: Relation, query: str) -> None:
        """Read one range into its segment files."""
        if self.has_failed.is_set():
            return
        table, started = relation.table, time.monotonic()
        try:
            self.what = table.name
            try:
                chunk = read_query(self.snapshot.reader_url, query, self.snapshot.reader_setup())
            except ExtractError:
                if self.has_failed.is_set():
                    return  # another read failed before, and says why
                self.has_failed.set()  # the others stop at once, whatever is found out about this one
                raise explain_failed_read(self.snapshot, relation, query, time.monotonic() - started) from None
            if not self.has_failed.is_set():  # this thread may have been given up, and its staging be gone
                self.store(table, chunk)
        except BaseException:
            self.has_failed.set()
            raise

    def store(self, table: SourceTable, chunk: pa.Table) -> None:
        nulled: Counter[str] = Counter()
        for batch in clean_chunk(chunk, table, self.columns[table.name], nulled):
            self.files.append(table, batch)
        with self.guard:
            self.nulled += nulled
            self.done += chunk.num_rows
        self.report_copied(0)

    def report_copied(self, rows: int) -> None:
        """Tell how far the read is: rows that are stored, and those that the server has sent of reads that run.

        Between the two a chunk is in neither for a moment; what was told is never taken back.
        """
        with self.guard:
            if not self.what:
                return
            read = self.done + rows
            self.reported = max(self.reported, min(read, self.total) if self.total else read)
            self.on_progress(Progress("read", self.what, self.reported, self.total))


def extract_source(  # noqa: PLR0913, PLR0917 - where from, where to, how, and whom it tells
    address: SourceAddress,
    staging: StagingFolder,
    options: ExtractOptions,
    on_progress: OnProgress,
    check_source: Callable[[SourceRecord], None],
    check_room: Callable[[int, int], None],
) -> StagingRecord:
    """Read both tables of the source, as of one instant, into the segment files of a staging.

    With a base, only segments that changed since are read; without, all are.

    The staging is not declared complete here: the caller does so with the record, once nothing speaks against it.
    `check_source` sees which source it is before a row is read, `check_room` how many bytes of the tables will be read
    and how many they have; both may raise.

    Returns:
        The record of what was staged. Where nothing changed it has a base and no segment.

    Raises:
        SourceError: The pre-flight found that the source can't be read.
        ExtractError: A read failed, or other rows came than the snapshot has. A new try may succeed.
        ContractError: An id is NULL or repeated, or a value does not fit.
    """
    started = time.monotonic()
    with open_snapshot(
        address,
        options.schema,
        include_full_data=options.include_full_data,
        timeout_s=options.timeout_s,
        connections=wanted_connections(options.read_connections),
    ) as snapshot:
        check_source(snapshot.source)
        opened = time.monotonic()
        with ReadWatchdog(snapshot.address, snapshot, options.timeout_s) as watch:
            on_progress(Progress("read", "fingerprints of both tables"))
            changes = find_changes(snapshot, options.base, options.segment_size, watch)
            compared = time.monotonic()
            reading = _Reading(
                snapshot=snapshot,
                files=SegmentFiles(staging, changes.segmentation),
                options=options,
                on_progress=on_progress,
                columns={
                    relation.table.name: source_columns(relation.table, include_full_data=options.include_full_data)
                    for relation in snapshot.relations
                },
                total=sum(count_rows(changes.fingerprints, changes.only).values()),
            )
            if changes.only:
                whole = sum(leaf.bytes for relation in snapshot.relations for leaf in relation.leaves)
                all_rows = sum(count_rows(changes.fingerprints).values())
                check_room(int(whole * reading.total / max(1, all_rows)), whole)
                watch.on_copied = reading.report_copied
                _read_all(reading, changes, watch)
            read = time.monotonic()
            if changes.only:
                _check_ids(snapshot, watch)
        checked = time.monotonic()
    require_all_rows(changes.fingerprints, reading.files, changes.only)
    trim_memory()
    return StagingRecord(
        staging_id=staging.staging_id,
        source=_with_rows(snapshot.source, count_rows(changes.fingerprints)),
        segment_size=options.segment_size,
        segment_numbers=changes.segmentation.numbers,
        include_full_data=options.include_full_data,
        segments=reading.files.segments(changes.only),
        nulled_values=dict(sorted(reading.nulled.items())),
        timings_s={
            "open_snapshot": opened - started,
            "find_changes": compared - opened,
            "read": read - compared,
            "check_ids": checked - read,
        },
        base_snapshot=None if options.base is None else options.base.id,
        fingerprints=changes.fingerprints,
    )


def _read_all(reading: _Reading, changes: Changes, watch: ReadWatchdog) -> None:
    # SQL is composed here: a connection is no place to meet for threads.
    segmentation = None if changes.are_all else changes.segmentation
    queries = [
        (relation, part.query.as_string(reading.snapshot.connection))
        for relation in reversed(reading.snapshot.relations)
        for part in plan_ranges(relation, segmentation, changes.only)
    ]
    with Workers(reading.options.read_connections, "export-read") as pool:
        futures: list[Future[Any]] = [pool.submit(reading.read, *query) for query in queries]
        try:
            wait_for(futures, watch)
        except BaseException:
            reading.has_failed.set()
            pool.drop_waiting()
            cancel_until_done(futures, watch)
            watch.raise_reason()
            raise


def _check_ids(snapshot: SourceSnapshot, watch: ReadWatchdog) -> None:
    try:
        snapshot.check_unique_ids()
    except ExtractError:
        watch.raise_reason()
        raise


def _with_rows(source: SourceRecord, counts: dict[str, int]) -> SourceRecord:
    relations = {
        table: relation.model_copy(update={"rows": counts[table]}) for table, relation in source.relations.items()
    }
    return source.model_copy(update={"relations": relations})
