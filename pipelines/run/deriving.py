"""The tables that are computed from domain_exports and candidate_exports alone (DESIGN 4.3 to 4.5), bucket by bucket.

One pass over the Parquet files of the staging divides the few columns that are needed into buckets on disk: domain rows
and candidates by domain hash, candidates once more by LEI. Both divisions keep order, so the results of one bucket
after the other are in the order of the table. Distinct counts of the summaries add up over buckets for the same reason.
Belongs here: which rows are held when. Does not: rules (transform/), how buckets are kept (buckets.py).
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import polars as pl

from pipelines.checks.sums import SumChecks
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
from pipelines.run.dividing import BUCKET_ROWS, Divided, Inputs, Needs, divide
from pipelines.run.table_build import TableBuild
from pipelines.run.turn import in_turn
from pipelines.settings import Settings
from pipelines.staging.folder import StagingFolder, latest_staging
from pipelines.transform import batch_summaries, entities, jurisdiction_summaries, unique_domains

# What each table reads: of domain rows and of candidates by domain hash, of candidates by LEI.
NEEDS = {
    UNIQUE_DOMAINS.name: Needs(domains=unique_domains.DOMAIN_COLUMNS, by_hash=unique_domains.CANDIDATE_COLUMNS),
    ENTITIES.name: Needs(by_lei=entities.COLUMNS),
    BATCH_SUMMARIES.name: Needs(domains=batch_summaries.RESULT_COLUMNS, by_lei=batch_summaries.CANDIDATE_COLUMNS),
    JURISDICTION_SUMMARIES.name: Needs(
        by_hash=jurisdiction_summaries.DOMAIN_COLUMNS, by_lei=jurisdiction_summaries.LEI_COLUMNS
    ),
}


def build_derived_tables(
    settings: Settings,
    names: Sequence[str] | None = None,
    on_progress: OnProgress = ignore_progress,
    *,
    bucket_rows: int = BUCKET_ROWS,
) -> list[TableRecord]:
    """Build tables from domain_exports and candidate_exports of the last complete staging.

    Args:
        settings: The run's settings.
        names: Tables to build; None is all.
        on_progress: Hears of each bucket.
        bucket_rows: Rows of a bucket, about.

    Returns:
        One record per table, in the order of the contract. Failed checks are in it; they raise nothing here.

    Raises:
        BusyError: Another run works on the same export folder.
        StagingError: Nothing is staged, or domain_exports or candidate_exports is not built from it.
        PublishError: A file can't be written.
    """
    tables = [table for table in DERIVED_TABLES if names is None or table.name in names]
    if not tables:
        return []
    with in_turn(settings.export_dir, on_progress):
        return _build(settings, tables, on_progress, bucket_rows)


def _build(settings: Settings, tables: Sequence[Table], on_progress: OnProgress, bucket_rows: int) -> list[TableRecord]:
    staging = latest_staging(settings.export_dir)
    record = staging.read_record()
    inputs = Inputs(
        staging.tables_dir,
        _built(staging, DOMAIN_EXPORTS.name),
        _built(staging, candidate_exports(include_full_data=record.include_full_data).name),
    )
    derivation = _Derivation(staging, record, inputs.rows)
    builds = {table.name: derivation.start(table) for table in tables}
    folder = staging.path / "buckets"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with _shared(builds, "divide"):
            divided = divide(inputs, folder, [NEEDS[table.name] for table in tables], bucket_rows)
        derivation.build(divided, builds, on_progress)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [build.finish() for build in builds.values()]


@dataclass
class _Derivation:
    """What the summaries add up while buckets go by."""

    staging: StagingFolder
    record: StagingRecord
    rows: dict[str, int]
    sums: dict[str, SumChecks] = field(default_factory=dict)
    batch_results: list[pl.DataFrame] = field(default_factory=list)
    batch_candidates: list[pl.DataFrame] = field(default_factory=list)
    jurisdiction_domains: list[pl.DataFrame] = field(default_factory=list)
    jurisdiction_candidates: list[pl.DataFrame] = field(default_factory=list)

    def start(self, table: Table) -> TableBuild:
        self.sums[table.name] = SumChecks(table, self.rows)
        return TableBuild(table, self.staging, self.record, self.sums[table.name])

    def build(self, divided: Divided, builds: dict[str, TableBuild], on_progress: OnProgress) -> None:
        done, total = 0, divided.hash_buckets + divided.lei_buckets
        for bucket in range(divided.hash_buckets):
            self._build_hash_bucket(divided, bucket, builds)
            done += 1
            on_progress(Progress("build", "domains of all batches", done, total))
        for bucket in range(divided.lei_buckets):
            self._build_lei_bucket(divided, bucket, builds)
            done += 1
            on_progress(Progress("build", "entities", done, total))
        if build := builds.get(BATCH_SUMMARIES.name):
            with build.timed("transform"):
                frame = self._batch_summaries(divided)
            self._add(build, frame)
        if build := builds.get(JURISDICTION_SUMMARIES.name):
            with build.timed("transform"):
                frame = _collected(
                    jurisdiction_summaries.build_jurisdiction_summaries(
                        pl.concat(self.jurisdiction_candidates).lazy(), pl.concat(self.jurisdiction_domains).lazy()
                    )
                )
            self._add(build, frame)

    def _build_hash_bucket(self, divided: Divided, bucket: int, builds: dict[str, TableBuild]) -> None:
        with _shared(builds, "load"):
            domains, candidates = divided.read_by_hash(bucket)
        if build := builds.get(UNIQUE_DOMAINS.name):
            with build.timed("transform"):
                frame = _collected(unique_domains.build_unique_domains(domains.lazy(), candidates.lazy()))
            self._add(build, frame)
        if build := builds.get(BATCH_SUMMARIES.name):
            with build.timed("transform"):
                self.batch_results.append(_collected(batch_summaries.count_batch_results(domains.lazy())))
        if build := builds.get(JURISDICTION_SUMMARIES.name):
            with build.timed("transform"):
                counted = jurisdiction_summaries.count_jurisdiction_domains(candidates.lazy())
                self.jurisdiction_domains.append(_collected(counted))

    def _build_lei_bucket(self, divided: Divided, bucket: int, builds: dict[str, TableBuild]) -> None:
        with _shared(builds, "load"):
            candidates = divided.read_by_lei(bucket)
        if build := builds.get(ENTITIES.name):
            with build.timed("transform"):
                frame = _collected(entities.build_entities(candidates.lazy()))
            self._add(build, frame)
        if build := builds.get(BATCH_SUMMARIES.name):
            with build.timed("transform"):
                self.batch_candidates.append(_collected(batch_summaries.count_batch_candidates(candidates.lazy())))
        if build := builds.get(JURISDICTION_SUMMARIES.name):
            with build.timed("transform"):
                counted = jurisdiction_summaries.count_jurisdiction_candidates(candidates.lazy())
                self.jurisdiction_candidates.append(_collected(counted))

    def _batch_summaries(self, divided: Divided) -> pl.DataFrame:
        # Medians need all values of a batch: three columns of all rows, the batch as a number.
        measured = divided.scan_domains(batch_summaries.MEASURE_COLUMNS).with_columns(
            pl.col("batch_id").cast(pl.Categorical(pl.Categories.random()))
        )
        return _collected(
            batch_summaries.build_batch_summaries(
                pl.concat(self.batch_results).lazy(),
                pl.concat(self.batch_candidates).lazy(),
                batch_summaries.measure_batches(measured.collect().lazy()),
            )
        )

    def _add(self, build: TableBuild, frame: pl.DataFrame) -> None:
        self.sums[build.table.name].look_at(frame)
        build.add(frame, None)


def _collected(frame: pl.LazyFrame) -> pl.DataFrame:
    """Rows of a bucket: below a million rows the in-memory engine takes half the time of the streaming one."""
    return frame.collect(engine="in-memory")


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
