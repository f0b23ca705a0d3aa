"""The second step of a run: from the last complete staging to Parquet files of the tables, segment by segment.

Belongs here: which frames are held when, and who writes them. Does not: rules (transform/), checks (checks/), formats
(publish/). Memory is that of one segment: its frames are let go before the next one is read.
"""

import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from pipelines.checks.definitions import SOURCE_HASH_AGREES
from pipelines.checks.evaluation import TableChecks
from pipelines.contracts.records import CheckRecord, FileRecord, StagingRecord, TableRecord
from pipelines.contracts.segments import segment_name
from pipelines.contracts.source import DOMAINS, GLEIF_CANDIDATES, SourceTable, source_columns
from pipelines.contracts.tables import DOMAIN_EXPORTS, REJECTED_ROWS, Table, candidate_exports, published_tables
from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.progress import OnProgress, Progress, ignore_progress
from pipelines.publish.parquet import write_parquet
from pipelines.settings import Settings
from pipelines.staging.folder import StagingFolder, latest_staging
from pipelines.transform.candidate_exports import build_candidate_exports
from pipelines.transform.domain_exports import build_domain_exports
from pipelines.transform.judging import judge_candidates, judge_domains
from pipelines.transform.rejected_rows import build_rejected_rows

_SHOWN_IDS = 5


def build_tables(
    settings: Settings, names: Sequence[str] | None = None, on_progress: OnProgress = ignore_progress
) -> list[TableRecord]:
    """Build tables from the last complete staging.

    Args:
        settings: The run's settings.
        names: Tables to build; None is all.
        on_progress: Hears of each segment.

    Returns:
        One record per table, in the order of the contract. Failed checks are in it; they raise nothing here.

    Raises:
        StagingError: Nothing is staged, or a staged file is damaged.
        PublishError: A file can't be written.
    """
    staging = latest_staging(settings.export_dir)
    record = staging.read_record()
    tables = [
        t for t in published_tables(include_full_data=record.include_full_data) if names is None or t.name in names
    ]
    builds = {table.name: _TableBuild(table, staging, record) for table in tables}
    total = sum(sum(segment.rows.values()) for segment in record.segments)
    done = 0
    for segment in record.segments:
        _build_segment(staging, record, segment.segment, builds)
        done += sum(segment.rows.values())
        on_progress(Progress("build", f"segment {segment_name(segment.segment, record.segment_size)}", done, total))
    return [build.finish() for build in builds.values()]


@dataclass
class _TableBuild:
    """A table while it is built."""

    table: Table
    staging: StagingFolder
    record: StagingRecord
    folder: Path = field(init=False)
    checks: TableChecks = field(init=False)
    files: list[FileRecord] = field(default_factory=list)
    more_checks: list[CheckRecord] = field(default_factory=list)
    source_hashes: "_SourceHashes" = field(init=False)
    timings: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def __post_init__(self) -> None:
        self.folder = self.staging.start_table(self.table.name)
        self.checks = TableChecks(self.table)
        self.source_hashes = _SourceHashes()

    def add(self, frame: pl.DataFrame, segment: int | None) -> None:
        """Check and write the rows of one segment; a segment without rows has no file."""
        if frame.is_empty():
            return
        started = time.monotonic()
        self.checks.look_at(frame)
        checked = time.monotonic()
        # Parts of a table that is not segmented are joined into one file at the end, in the order of the segments.
        folder = self.folder if self.table.is_segmented else self.folder / "parts"
        folder.mkdir(exist_ok=True)
        path = folder / f"{segment_name(segment, self.record.segment_size)}.parquet"
        self.files.append(write_parquet(frame, path, table=self.table, segment=segment))
        self.timings["check"] += checked - started
        self.timings["write"] += time.monotonic() - checked

    def finish(self) -> TableRecord:
        """Close the table: one file at least, its checks, its record."""
        if not self.table.is_segmented:
            self._join_parts()
        elif not self.files:
            self._write_empty(0)
        if not sum(file.rows for file in self.files):
            self.checks.look_at(self.table.schema.create_empty())
        checks = self.checks.results()
        if self.table.name == DOMAIN_EXPORTS.name:
            checks.append(self.source_hashes.result())
        record = TableRecord(
            name=self.table.name,
            staging_id=self.staging.staging_id,
            contract_version=CONTRACT_VERSION,
            rows=sum(file.rows for file in self.files),
            files=tuple(self.files),
            checks=tuple(checks),
            timings_s={name: round(seconds, 3) for name, seconds in self.timings.items()},
        )
        self.staging.write_table_record(record)
        return record

    def _join_parts(self) -> None:
        parts = self.folder / "parts"
        started = time.monotonic()
        if self.files:
            # Segments are written in order, so the parts' order is the table's.
            frame = pl.concat([pl.scan_parquet(parts / Path(file.path).name) for file in self.files])
            path = self.folder / f"{segment_name(None, self.record.segment_size)}.parquet"
            self.files = [write_parquet(frame, path, table=self.table, segment=None)]
            shutil.rmtree(parts)
        else:
            self._write_empty(None)
        self.timings["write"] += time.monotonic() - started

    def _write_empty(self, segment: int | None) -> None:
        path = self.folder / f"{segment_name(segment, self.record.segment_size)}.parquet"
        self.files = [write_parquet(self.table.schema.create_empty(), path, table=self.table, segment=segment)]


class _SourceHashes:
    """Compares the source's own domain_hash with the computed one (DESIGN 4.1: a check warns)."""

    def __init__(self) -> None:
        self._compared = 0
        self._counts: Counter[str] = Counter()
        self._ids: list[int] = []

    def look_at(self, judged_domains: pl.DataFrame) -> None:
        """Compare the kept rows of one segment."""
        kept = judged_domains.filter(pl.col("reason").is_null() & pl.col("domain_hash").is_not_null())
        different = kept.filter(pl.col("domain_hash") != pl.col("computed_hash"))["id"]
        self._compared += kept.height
        self._counts["different"] += different.len()
        self._ids += different.head(max(0, _SHOWN_IDS - len(self._ids))).to_list()

    def result(self) -> CheckRecord:
        """The outcome over all segments."""
        return SOURCE_HASH_AGREES.result(
            passed=not self._counts["different"],
            rows_compared=self._compared,
            rows_that_differ=self._counts["different"],
            first_domain_ids=self._ids,
        )


def _build_segment(
    staging: StagingFolder, record: StagingRecord, segment: int | None, builds: dict[str, _TableBuild]
) -> None:
    """Compute one segment once, for all wanted tables."""
    started = time.monotonic()
    judged_domains = judge_domains(_read(staging, record, segment, DOMAINS).lazy()).collect()
    candidates = _read(staging, record, segment, GLEIF_CANDIDATES).lazy()
    judged_candidates = judge_candidates(candidates, judged_domains.lazy()).collect()
    del candidates
    contract = candidate_exports(include_full_data=record.include_full_data)
    exported = build_candidate_exports(judged_candidates.lazy(), contract).collect()
    judged = time.monotonic() - started
    for build in builds.values():
        build.timings["judge"] += judged
    if REJECTED_ROWS.name in builds:
        rejected = build_rejected_rows(
            judged_domains.lazy(), judged_candidates.lazy(), include_full_data=record.include_full_data
        ).collect()
        builds[REJECTED_ROWS.name].add(rejected, segment)
    del judged_candidates
    if DOMAIN_EXPORTS.name in builds:
        build = builds[DOMAIN_EXPORTS.name]
        build.source_hashes.look_at(judged_domains)
        build.add(build_domain_exports(judged_domains.lazy(), exported.lazy()).collect(), segment)
    del judged_domains
    if contract.name in builds:
        builds[contract.name].add(exported, segment)


def _read(staging: StagingFolder, record: StagingRecord, segment: int | None, table: SourceTable) -> pl.DataFrame:
    frame = staging.read_segment(table.name, segment, record)
    if frame is None:
        columns = source_columns(table, include_full_data=record.include_full_data)
        frame = pl.DataFrame(schema={name: column.dtype for name, column in columns.items()})
    return frame
