"""The second step of a run: from the last complete staging to Parquet files of the tables, segment by segment.

Memory is that of two segments: while one is checked and written, the next one is computed.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl

from pipelines.build.base import base_snapshot
from pipelines.build.staging import StagingFolder, claim_staging
from pipelines.build.table_build import TableBuild
from pipelines.checks.content import CandidateChecks, DomainChecks
from pipelines.contracts.records import CheckRecord, SegmentRecord, StagingRecord, TableRecord
from pipelines.contracts.segments import segment_name
from pipelines.contracts.source import DOMAINS, GLEIF_CANDIDATES, SourceTable, source_columns
from pipelines.contracts.tables import DOMAIN_EXPORTS, REJECTED_ROWS, candidate_exports, segmented_tables
from pipelines.progress import OnProgress, Progress, ignore_progress
from pipelines.settings import Settings
from pipelines.snapshots.opening import Snapshot
from pipelines.system.files import Digests
from pipelines.system.memory import trim_memory
from pipelines.system.prefetch import prefetch
from pipelines.system.run_lock import RunLock, guarded
from pipelines.transform.candidate_exports import build_candidate_exports
from pipelines.transform.domain_exports import build_domain_exports
from pipelines.transform.validation import build_rejected_rows, validate_candidates, validate_domains


class SegmentCheckStates:
    """Checks of content, kept by segment: those of a segment that is reused are known from the run that read it."""

    def __init__(self, make: type[DomainChecks] | type[CandidateChecks]) -> None:
        self._make = make
        self._found: dict[str, dict[str, Any]] = {}

    def keep(self, segment: str, checks: DomainChecks | CandidateChecks) -> None:
        """Keep what was found in a segment."""
        self._found[segment] = checks.state()

    def reuse(self, findings: dict[str, dict[str, Any]], changed: frozenset[str]) -> None:
        """Take over what was found in all segments but the changed ones."""
        self._found |= {segment: found for segment, found in findings.items() if segment not in changed}

    def findings(self) -> dict[str, dict[str, Any]]:
        """What was found, by segment name."""
        return self._found

    def results(self) -> list[CheckRecord]:
        """One record a check over all segments, in the order of the definitions."""
        total = self._make()
        for segment in sorted(self._found):
            total.add_state(self._found[segment])
        return total.results()


class _SegmentBuilds:
    """The wanted tables, and the checks of what is in them."""

    def __init__(
        self, staging: StagingFolder, record: StagingRecord, names: Sequence[str] | None, digests: Digests
    ) -> None:
        self.candidates = candidate_exports(include_full_data=record.include_full_data)
        self.domain_checks = SegmentCheckStates(DomainChecks)
        self.candidate_checks = SegmentCheckStates(CandidateChecks)
        self.content = {DOMAIN_EXPORTS.name: self.domain_checks, self.candidates.name: self.candidate_checks}
        self.tables = {
            table.name: TableBuild(table, staging, record, digests, self.content.get(table.name))
            for table in segmented_tables(include_full_data=record.include_full_data)
            if names is None or table.name in names
        }

    def reuse(self, base: Snapshot, record: StagingRecord) -> None:
        """Take everything but the staged segments from a published snapshot."""
        changed = frozenset(segment.segment for segment in record.segments)
        changed_names = frozenset(map(segment_name, changed))
        for name, build in self.tables.items():
            build.reuse(base, changed)
            if name in self.content:
                self.content[name].reuse(base.record_of(name).findings, changed_names)


@guarded
def build_tables(
    settings: Settings, lock: RunLock, names: Sequence[str] | None = None, on_progress: OnProgress = ignore_progress
) -> list[TableRecord]:
    """Build the tables that go by segment, and rejected_rows, from the last complete staging.

    Args:
        names: Tables to build; None is all.

    Returns:
        One record per table, in the order of the contract. Failed checks are in it; they raise nothing here.

    Raises:
        BusyError: Another run works on the last staging.
        LockLostError: Another run took the lock.
        StagingError: Nothing is staged, or a staged file is damaged.
        PublishError: A file can't be written.
    """
    staging = claim_staging(settings.export_dir, lock)
    record = staging.read_record()
    builds = _SegmentBuilds(staging, record, names, lock.digests)
    if record.base_snapshot is not None:
        builds.reuse(base_snapshot(settings.export_dir, record), record)
    total = sum(sum(segment.rows.values()) for segment in record.segments)
    done = 0
    tasks = (partial(_compute, staging, record, segment, builds) for segment in record.segments)
    with prefetch(tasks) as computed:  # two cores have work; one segment after the other kept 1.4 of them busy
        for rows in computed:
            name = segment_name(rows.segment)
            _add(rows, name, builds)
            done += rows.source_rows
            on_progress(Progress("build", f"segment {name}", done, total))
            del rows  # else it stays until the next one is there: 200 MB
    records = [build.finish() for build in builds.tables.values()]
    trim_memory()
    return records


@dataclass
class _SegmentRows:
    """The rows of a segment in all wanted tables, and of those that they were computed from what checks look at.

    The caller lets go of the rows of a table here, once it has written them: 70 MB each.
    """

    segment: int | None
    source_rows: int
    validated_domains: pl.DataFrame
    domains: pl.DataFrame | None
    candidates: pl.DataFrame
    rejected: pl.DataFrame | None
    timings: dict[str, float]


def _compute(
    staging: StagingFolder, record: StagingRecord, segment: SegmentRecord, builds: _SegmentBuilds
) -> _SegmentRows:
    """Compute one segment once, for all wanted tables."""
    started = time.monotonic()
    # Rows are not kept here beside what is made of them: a copy of a segment's candidates is 60 MB.
    validated_domains = validate_domains(_read(staging, record, segment, DOMAINS))
    validated_candidates = validate_candidates(_read(staging, record, segment, GLEIF_CANDIDATES), validated_domains)
    source_rows = validated_domains.height + validated_candidates.height
    accepted = build_candidate_exports(validated_candidates, builds.candidates)
    rejected = frame = None
    if REJECTED_ROWS.name in builds.tables:
        rejected = build_rejected_rows(
            validated_domains, validated_candidates, include_full_data=record.include_full_data
        )
    del validated_candidates
    validated = time.monotonic()
    if DOMAIN_EXPORTS.name in builds.tables:
        frame = build_domain_exports(validated_domains, accepted)
    timings = {"judge": validated - started, "transform": time.monotonic() - validated}
    for_checks = validated_domains.select(DomainChecks.VALIDATED_COLUMNS)
    return _SegmentRows(segment.segment, source_rows, for_checks, frame, accepted, rejected, timings)


def _add(rows: _SegmentRows, name: str, builds: _SegmentBuilds) -> None:
    """Check and write the rows of a segment."""
    tables = builds.tables
    for build in tables.values():
        build.timings["judge"] += rows.timings["judge"]
    if rows.rejected is not None:
        tables[REJECTED_ROWS.name].add(rows.rejected, rows.segment)
    if rows.domains is not None:
        build = tables[DOMAIN_EXPORTS.name]
        build.timings["transform"] += rows.timings["transform"]
        with build.timed("check"):
            checks = DomainChecks()
            checks.update(rows.validated_domains, rows.domains, rows.candidates)
            builds.domain_checks.keep(name, checks)
        build.add(rows.domains, rows.segment)
        rows.domains = None
    if builds.candidates.name in tables:
        build = tables[builds.candidates.name]
        with build.timed("check"):
            of_candidates = CandidateChecks()
            of_candidates.update(rows.candidates)
            builds.candidate_checks.keep(name, of_candidates)
        build.add(rows.candidates, rows.segment)


def _read(staging: StagingFolder, record: StagingRecord, segment: SegmentRecord, table: SourceTable) -> pl.DataFrame:
    frame = staging.read_segment(table.name, segment)
    if frame is None:
        columns = source_columns(table, include_full_data=record.include_full_data)
        frame = pl.DataFrame(schema={name: column.dtype for name, column in columns.items()})
    return frame
