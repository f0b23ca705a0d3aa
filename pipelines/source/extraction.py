"""The extraction of one run: snapshot, parallel reads, staging, and the proof that nothing is missing (DESIGN 3)."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

import polars as pl

from pipelines.build.pieces import PieceIndex
from pipelines.build.staging import StagingFolder
from pipelines.contracts.records import Manifest, SegmentRecord, SourceRecord, StagingRecord
from pipelines.contracts.segments import in_order
from pipelines.engine.flow import Engine
from pipelines.engine.nodes import check_nodes
from pipelines.errors import ExtractError
from pipelines.progress import OnProgress, Progress
from pipelines.settings import Settings
from pipelines.source.changes import Changes, as_read, count_rows, find_changes, require_all_rows
from pipelines.source.connection import SourceAddress
from pipelines.source.exported_snapshot import SourceSnapshot
from pipelines.source.failed_read import explain_failed_read
from pipelines.source.preflight import open_snapshot
from pipelines.source.ranges import plan_ranges
from pipelines.source.read_range import ReadFacts, ReadTask, read_range
from pipelines.source.read_watchdog import ReadWatchdog
from pipelines.source.reader import read_query
from pipelines.system.memory import trim_memory

# A range of RANGE_BYTES takes about 200 MB while it is read and divided.
_MEMORY_BYTES = 256 * 2**20


@dataclass
class _Reading:
    """How far the read is, and what came of it so far."""

    on_progress: OnProgress
    total: int
    done: int = 0
    reported: int = 0
    what: str = ""
    nulled: Counter[str] = field(default_factory=Counter)
    digests: Counter[tuple[str, int | None]] = field(default_factory=Counter)
    pieces: list[pl.DataFrame] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def add(self, facts: ReadFacts) -> None:
        """Count what a range had."""
        with self.guard:
            self.what = facts.table
            self.nulled += facts.nulled
            self.digests.update({(facts.table, segment): digest for segment, digest in facts.digests.items()})
            self.pieces.append(facts.pieces)
            self.done += facts.rows
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
    settings: Settings,
    address: SourceAddress,
    base: Manifest | None,
    staging: StagingFolder,
    engine: Engine,
    on_progress: OnProgress,
    check_source: Callable[[SourceRecord], None],
    check_room: Callable[[int, int], None],
) -> StagingRecord:
    """Read both tables of the source, as of one instant, into the segment files of a staging.

    With a base, the manifest of a published snapshot, only segments that changed since are read; without, all are.

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
    with open_snapshot(address, settings) as snapshot:
        check_source(snapshot.source)
        probe = partial(read_query, snapshot.reader_url, "SELECT 1 AS one", snapshot.reader_setup())
        check_nodes(engine, settings.export_dir, probe)
        opened = time.monotonic()
        with ReadWatchdog(snapshot, settings.export_max_seconds) as watch:
            on_progress(Progress("read", "segments of both tables"))
            changes = find_changes(snapshot, base, settings.segment_size, watch)
            compared = time.monotonic()
            staging.start_source()
            reading = _Reading(on_progress, sum(count_rows(changes.to_read).values()))
            if changes.only:
                whole = sum(leaf.bytes for relation in snapshot.relations for leaf in relation.leaves)
                all_rows = sum(count_rows(changes.fingerprints).values())
                check_room(int(whole * reading.total / max(1, all_rows)), whole)
                watch.on_copied = reading.report_copied
                tasks = _tasks(snapshot, staging, changes, include_full_data=settings.include_full_data)
                _read_all(reading, tasks, snapshot, engine, settings.read_connections, watch)
            read = time.monotonic()
            if changes.only:
                _check_ids(snapshot, watch)
        checked = time.monotonic()
    index = PieceIndex(reading.pieces)
    segments = _segments(index, changes.only)
    require_all_rows(changes, segments)
    fingerprints = as_read(changes, reading.digests)
    if base is not None and fingerprints != changes.fingerprints:
        on_progress(
            Progress(
                "read",
                "rows were read otherwise than they were compared, as where a label of an enum or a function of a view"
                " changes meanwhile; the next run compares them again",
            )
        )
    staging.write_source_index(index)
    trim_memory()
    return StagingRecord(
        staging_id=staging.staging_id,
        source=_with_rows(snapshot.source, count_rows(changes.fingerprints)),
        segment_size=settings.segment_size,
        segment_numbers=changes.segmentation.numbers,
        include_full_data=settings.include_full_data,
        segments=segments,
        nulled_values=dict(sorted(reading.nulled.items())),
        timings_s={
            "open_snapshot": opened - started,
            "find_changes": compared - opened,
            "read": read - compared,
            "check_ids": checked - read,
        },
        base_snapshot=None if base is None else base.id,
        fingerprints=fingerprints,
    )


def _tasks(
    snapshot: SourceSnapshot, staging: StagingFolder, changes: Changes, *, include_full_data: bool
) -> list[ReadTask]:
    """One task for each page range, those of the larger table first."""
    segmentation = None if changes.to_read == changes.fingerprints else changes.segmentation
    setup = snapshot.reader_setup()
    return [
        ReadTask(
            number=number,
            table=relation.table,
            query=query.as_string(snapshot.connection),
            url=snapshot.reader_url,
            setup=setup,
            include_full_data=include_full_data,
            segmentation=changes.segmentation,
            folder=staging.source_dir,
        )
        for relation in reversed(snapshot.relations)
        for number, query in enumerate(plan_ranges(relation, segmentation, changes.only))
    ]


def _read_all(  # noqa: PLR0913, PLR0917 - all that a read needs
    reading: _Reading,
    tasks: list[ReadTask],
    snapshot: SourceSnapshot,
    engine: Engine,
    connections: int,
    watch: ReadWatchdog,
) -> None:
    """Read the ranges; what fails is explained when no other read runs any more."""
    reading.what = next((task.table.name for task in tasks), "")
    failed: ReadFacts | None = None
    with closing(
        engine.map(
            read_range,
            tasks,
            memory_bytes=_MEMORY_BYTES,
            at_a_time=connections,
            watch=watch.raise_reason,
            on_stop=watch.cancel,
            on_give_up=watch.give_up,
        )
    ) as found:
        for facts in found:
            if facts.error is not None:
                failed = facts
                break
            reading.add(facts)
    if failed is not None:
        watch.raise_reason()
        task = next(task for task in tasks if (task.table.name, task.number) == (failed.table, failed.number))
        relation = next(relation for relation in snapshot.relations if relation.table.name == failed.table)
        raise explain_failed_read(snapshot, relation, task.query, failed.seconds)


def _segments(index: PieceIndex, wanted: Collection[int | None]) -> tuple[SegmentRecord, ...]:
    """What was read, in segment order, None last; of wanted segments, those without a row too."""
    rows: dict[int | None, dict[str, int]] = {segment: {} for segment in wanted}
    counted = index.frame.group_by("consumer", "kind", maintain_order=True).agg(pl.col("rows").sum())
    for segment, table, count in counted.iter_rows():
        rows.setdefault(segment, {})[table] = count
    return tuple(SegmentRecord(segment=segment, rows=rows[segment]) for segment in in_order(rows))


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
