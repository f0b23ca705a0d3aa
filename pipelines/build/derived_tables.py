"""The tables that are computed from domain_exports and candidate_exports alone (DESIGN 4.3 to 4.5), bucket by bucket.

One pass over the Parquet files of the staging divides the few columns that are needed into buckets on disk: domain rows
and candidates by domain hash, candidates once more by LEI. Both divisions keep order, so the results of one bucket
after the other are in the order of the table. Distinct counts of the summaries add up over buckets for the same reason.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import polars as pl

from pipelines.build.base import base_snapshot
from pipelines.build.incremental import IncrementalUpdate, State
from pipelines.build.partitioning import BUCKET_ROWS, Inputs, Partitions, RequiredColumns, divide
from pipelines.build.staging import StagingFolder, claim_staging
from pipelines.build.table_build import TableBuild
from pipelines.checks.evaluation import SumChecks
from pipelines.contracts.records import StagingRecord, TableRecord
from pipelines.contracts.tables import (
    BATCH_SUMMARIES,
    DERIVED_TABLES,
    DOMAIN_EXPORTS,
    ENTITIES,
    JURISDICTION_SUMMARIES,
    UNIQUE_DOMAINS,
    Table,
    candidate_exports,
)
from pipelines.errors import StagingError
from pipelines.progress import OnProgress, Progress, ignore_progress
from pipelines.settings import Settings
from pipelines.system.files import Digests
from pipelines.system.memory import trim_memory
from pipelines.system.prefetch import prefetch
from pipelines.system.run_lock import RunLock, guarded
from pipelines.transform import batch_summaries, entities, jurisdiction_summaries, unique_domains

# Two cores have work; the rows of three buckets are in memory.
_BUCKETS_AT_A_TIME = 2
_LOAD = "load"

# What each table reads: of domain rows and of candidates by domain hash, of candidates by LEI.
NEEDS = {
    UNIQUE_DOMAINS.name: RequiredColumns(
        domains=unique_domains.DOMAIN_COLUMNS, by_hash=unique_domains.CANDIDATE_COLUMNS
    ),
    ENTITIES.name: RequiredColumns(by_lei=entities.COLUMNS),
    BATCH_SUMMARIES.name: RequiredColumns(
        domains=batch_summaries.RESULT_COLUMNS, by_lei=batch_summaries.CANDIDATE_COLUMNS
    ),
    JURISDICTION_SUMMARIES.name: RequiredColumns(
        by_hash=jurisdiction_summaries.DOMAIN_COLUMNS, by_lei=jurisdiction_summaries.LEI_COLUMNS
    ),
}


@guarded
def build_derived_tables(
    settings: Settings,
    lock: RunLock,
    names: Sequence[str] | None = None,
    on_progress: OnProgress = ignore_progress,
    *,
    bucket_rows: int = BUCKET_ROWS,
) -> list[TableRecord]:
    """Build tables from domain_exports and candidate_exports of the last complete staging.

    Args:
        names: Tables to build; None is all.
        bucket_rows: Rows of a bucket, about.

    Returns:
        One record per table, in the order of the contract. Failed checks are in it; they raise nothing here.

    Raises:
        BusyError: Another run works on the last staging.
        LockLostError: Another run took the lock.
        StagingError: Nothing is staged, or domain_exports or candidate_exports is not built from it.
        PublishError: A file can't be written.
    """
    tables = [table for table in DERIVED_TABLES if names is None or table.name in names]
    if not tables:
        return []
    staging = claim_staging(settings.export_dir, lock)
    record = staging.read_record()
    inputs = Inputs(
        staging.tables_dir,
        _built(staging, DOMAIN_EXPORTS.name),
        _built(staging, candidate_exports(include_full_data=record.include_full_data).name),
    )
    derivation = _Derivation(staging, record, lock.digests, inputs.rows)
    builds = {table.name: derivation.start(table) for table in tables}
    as_a_whole = builds
    if record.base_snapshot is not None:
        base = base_snapshot(settings.export_dir, record)
        changed = frozenset(segment.segment for segment in record.segments)
        now = State(inputs.tables_dir, inputs.domains.files, inputs.candidates.files)
        as_a_whole = derivation.apply(
            IncrementalUpdate(base, now, changed, max_rows=_BUCKETS_AT_A_TIME * bucket_rows, tables=builds.keys()),
            builds,
            on_progress,
        )
    if as_a_whole:
        folder = staging.path / "buckets"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with _shared(as_a_whole, "divide"):
                divided = divide(inputs, folder, [NEEDS[name] for name in as_a_whole], bucket_rows)
            trim_memory()
            derivation.build(divided, as_a_whole, on_progress)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    # Tables of many parts are put together beside each other. Replacing rows takes 300 to 400 MB: one after the other.
    with ThreadPoolExecutor(max(1, len(as_a_whole)), "export-finish") as pool:
        records = list(pool.map(TableBuild.finish, builds.values()))
    trim_memory()
    return records


@dataclass
class _Derivation:
    """What the summaries add up while buckets go by."""

    staging: StagingFolder
    record: StagingRecord
    digests: Digests
    rows: dict[str, int]
    sums: dict[str, SumChecks] = field(default_factory=dict)
    batch_results: list[pl.DataFrame] = field(default_factory=list)
    batch_candidates: list[pl.DataFrame] = field(default_factory=list)
    jurisdiction_domains: list[pl.DataFrame] = field(default_factory=list)
    jurisdiction_candidates: list[pl.DataFrame] = field(default_factory=list)

    def start(self, table: Table) -> TableBuild:
        self.sums[table.name] = SumChecks(table, self.rows)
        return TableBuild(table, self.staging, self.record, self.digests, self.sums[table.name])

    def apply(
        self, update: IncrementalUpdate, builds: dict[str, TableBuild], on_progress: OnProgress
    ) -> dict[str, TableBuild]:
        """Compute only what changed of each table; those where that is too much are returned, to be computed whole."""
        as_a_whole = {}
        for name, build in builds.items():
            with build.timed("transform"):
                part = update.patch_of(build.table)
            if part is None:
                as_a_whole[name] = build
                continue
            on_progress(Progress("build", f"{name}: {part.keys.len():,} rows looked at again"))
            kept = update.base.scan(name).filter(~pl.col(build.table.key[0]).is_in(part.keys.implode()))
            sums = kept.select(pl.col(self.sums[name].columns).cast(pl.Int64).sum())
            self.sums[name].update(sums.collect(engine="streaming"))
            self.sums[name].update(part.rows)
            build.replace(update.base, part.keys, part.rows)
        return as_a_whole

    def build(self, divided: Partitions, builds: dict[str, TableBuild], on_progress: OnProgress) -> None:
        tasks = [
            *(partial(self._hash_bucket, divided, bucket, builds) for bucket in range(divided.hash_buckets)),
            *(partial(self._lei_bucket, divided, bucket, builds) for bucket in range(divided.lei_buckets)),
        ]
        done = 0
        with prefetch(tasks, _BUCKETS_AT_A_TIME) as buckets:
            for bucket in buckets:
                self._take(bucket, builds)
                done += 1
                on_progress(Progress("summarize", bucket.what, done, len(tasks)))
                del bucket  # else it stays until the next one is there
        if build := builds.get(BATCH_SUMMARIES.name):
            with build.timed("transform"):
                frame = self._batch_summaries(divided)
            self._add(build, frame)
        if build := builds.get(JURISDICTION_SUMMARIES.name):
            with build.timed("transform"):
                frame = jurisdiction_summaries.build_jurisdiction_summaries(
                    pl.concat(self.jurisdiction_candidates), pl.concat(self.jurisdiction_domains)
                )
            self._add(build, frame)

    def _take(self, bucket: "_Bucket", builds: dict[str, TableBuild]) -> None:
        for name, seconds in bucket.timings.items():
            stage = "load" if name == _LOAD else "transform"
            builds[name if name in builds else next(iter(builds))].timings[stage] += seconds
        for name, frame in bucket.rows.items():
            self._add(builds[name], frame)
        for name, frame in bucket.counts.items():
            getattr(self, name).append(frame)

    def _hash_bucket(self, divided: Partitions, number: int, builds: dict[str, TableBuild]) -> "_Bucket":
        bucket = _Bucket("domains of all batches")
        with bucket.timed(_LOAD):
            domains, candidates = divided.read_by_hash(number)
        if UNIQUE_DOMAINS.name in builds:
            bucket.build(UNIQUE_DOMAINS, partial(unique_domains.build_unique_domains, domains, candidates))
        if BATCH_SUMMARIES.name in builds:
            bucket.count(BATCH_SUMMARIES, "batch_results", partial(batch_summaries.count_batch_results, domains))
        if JURISDICTION_SUMMARIES.name in builds:
            counted = partial(jurisdiction_summaries.count_jurisdiction_domains, candidates)
            bucket.count(JURISDICTION_SUMMARIES, "jurisdiction_domains", counted)
        return bucket

    def _lei_bucket(self, divided: Partitions, number: int, builds: dict[str, TableBuild]) -> "_Bucket":
        bucket = _Bucket("entities")
        with bucket.timed(_LOAD):
            candidates = divided.read_by_lei(number)
        if ENTITIES.name in builds:
            bucket.build(ENTITIES, partial(entities.build_entities, candidates))
        if BATCH_SUMMARIES.name in builds:
            counted = partial(batch_summaries.count_batch_candidates, candidates)
            bucket.count(BATCH_SUMMARIES, "batch_candidates", counted)
        if JURISDICTION_SUMMARIES.name in builds:
            counted = partial(jurisdiction_summaries.count_jurisdiction_candidates, candidates)
            bucket.count(JURISDICTION_SUMMARIES, "jurisdiction_candidates", counted)
        return bucket

    def _batch_summaries(self, divided: Partitions) -> pl.DataFrame:
        # Medians need all values of a batch: three columns of all rows, the batch as a number.
        measured = divided.scan_domains(batch_summaries.MEASURE_COLUMNS).with_columns(
            pl.col("batch_id").cast(pl.Categorical(pl.Categories.random()))
        )
        return batch_summaries.build_batch_summaries(
            pl.concat(self.batch_results),
            pl.concat(self.batch_candidates),
            batch_summaries.measure_batches(measured.collect()),
        )

    def _add(self, build: TableBuild, frame: pl.DataFrame) -> None:
        self.sums[build.table.name].update(frame)
        build.add(frame, None)


@dataclass
class _Bucket:
    """What was computed of a bucket: rows by table, counts by the list that they go to, seconds by table."""

    what: str
    rows: dict[str, pl.DataFrame] = field(default_factory=dict)
    counts: dict[str, pl.DataFrame] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)

    def build(self, table: Table, rule: Callable[[], pl.DataFrame]) -> None:
        """Compute rows of a table."""
        with self.timed(table.name):
            self.rows[table.name] = rule()

    def count(self, table: Table, where: str, rule: Callable[[], pl.DataFrame]) -> None:
        """Compute counts that add up over buckets."""
        with self.timed(table.name):
            self.counts[where] = rule()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count the seconds of the body."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.monotonic() - started


@contextmanager
def _shared(builds: dict[str, TableBuild], stage: str) -> Iterator[None]:
    """Count the seconds of work that is done once for all tables, as a stage of the first of them."""
    with next(iter(builds.values())).timed(stage):
        yield


def _built(staging: StagingFolder, name: str) -> TableRecord:
    record = staging.read_table_record(name)
    if record is None:
        raise StagingError(
            f"{name} is not built from the last staging",
            expected=f"{name} of staging {staging.staging_id}, which this table is computed from",
            found="none, or of another run",
            fix=f"materialize exports/{name} first, or run the job `export`",
        )
    return record
