"""The second stage of a run for all segments: from the last complete staging to Parquet files of the tables."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import polars as pl

from pipelines.build.base import base_snapshot
from pipelines.build.build_segment import SegmentFacts, SegmentTask, build_segment
from pipelines.build.key_ranges import RANGE_ROWS, KeyRanges, plan_key_ranges
from pipelines.build.pieces import PieceIndex
from pipelines.build.staging import StagingFolder, damaged
from pipelines.build.stagings import claim_staging
from pipelines.build.table_build import TableBuild
from pipelines.checks.content import CandidateChecks, DomainChecks
from pipelines.contracts.records import CheckRecord, SegmentRecord, StagingRecord, TableRecord
from pipelines.contracts.segments import segment_name
from pipelines.contracts.source import DOMAINS, GLEIF_CANDIDATES, SOURCE_TABLES
from pipelines.contracts.tables import segmented_tables
from pipelines.engine.flow import Engine
from pipelines.engine.local import LOCAL
from pipelines.progress import OnProgress, Progress, ignore_progress
from pipelines.settings import Settings
from pipelines.snapshots.opening import Snapshot
from pipelines.system.files import Digests
from pipelines.system.memory import trim_memory
from pipelines.system.run_lock import RunLock, guarded

# 50,000 domains with five candidates each; two at a time keep two cores busy.
_MEMORY_BYTES = 384 * 2**20
# Enough for 1,024 ranges of about the same size. Of many pieces: those of one segment may be of one country.
_SAMPLED_LEIS = 50_000
_SAMPLED_PIECES = 64
_CONTENT_CHECKS: dict[str, type[DomainChecks] | type[CandidateChecks]] = {
    "domain_exports": DomainChecks,
    "candidate_exports": CandidateChecks,
}


class _SegmentBuilds:
    """The wanted tables, and what the checks of their content found, by table and segment.

    What was found in a segment that is reused is known from the run that read it.
    """

    def __init__(
        self, staging: StagingFolder, record: StagingRecord, names: Sequence[str] | None, digests: Digests
    ) -> None:
        self.findings: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in _CONTENT_CHECKS}
        tables = segmented_tables(include_full_data=record.include_full_data)
        self.tables = {
            table.name: TableBuild(table, staging, record, digests)
            for table in tables
            if names is None or table.name in names
        }
        self.are_all = len(self.tables) == len(tables)

    def reuse(self, base: Snapshot, record: StagingRecord) -> None:
        """Take everything but the staged segments from a published snapshot."""
        changed = frozenset(segment.segment for segment in record.segments)
        changed_names = frozenset(map(segment_name, changed))
        for name, build in self.tables.items():
            build.reuse(base, changed)
            if name in self.findings:
                found = base.record_of(name).findings.items()
                self.findings[name] |= {segment: state for segment, state in found if segment not in changed_names}

    def add(self, facts: SegmentFacts) -> None:
        """Add what was built of a segment."""
        for name, part in facts.parts.items():
            build = self.tables[name]
            build.add(part)
            build.timings["validate"] += facts.validate_s
            if name in self.findings:
                self.findings[name][segment_name(facts.segment)] = part.content

    def finish(self) -> list[TableRecord]:
        """Close the tables."""
        return [build.finish(*self._content(name)) for name, build in self.tables.items()]

    def _content(self, table: str) -> tuple[list[CheckRecord], dict[str, dict[str, Any]]]:
        """Results of the checks of a table's content, and what they found, in the order of the segments' names."""
        if table not in self.findings:
            return [], {}
        checks, findings = _CONTENT_CHECKS[table](), dict(sorted(self.findings[table].items()))
        for state in findings.values():
            checks.add_state(state)
        return checks.results(), findings


@guarded
def build_tables(  # noqa: PLR0913 - a stage of a run
    settings: Settings,
    lock: RunLock,
    names: Sequence[str] | None = None,
    on_progress: OnProgress = ignore_progress,
    *,
    engine: Engine = LOCAL,
    range_rows: int = RANGE_ROWS,
) -> list[TableRecord]:
    """Build the tables that go by segment from the last complete staging.

    Args:
        names: Tables to build; None is all.
        range_rows: Rows of a key range, about.

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
    index = staging.read_source_index()
    _require_all(staging, record.segments, index)
    # With a base, only the keys whose rows changed are computed again, in most runs. Who builds some of the tables may
    # want no derived one; if one is wanted, its rows come from the Parquet files.
    is_whole = record.base_snapshot is None and builds.are_all
    ranges = _plan(staging, record, index, range_rows) if is_whole else None
    if ranges is not None:
        staging.start_keys()
    tasks = (
        SegmentTask(
            staging=staging,
            segment=segment.segment,
            include_full_data=record.include_full_data,
            pieces={table.name: index.of(table.name, segment.segment) for table in SOURCE_TABLES},
            names=frozenset(builds.tables),
            ranges=ranges,
        )
        for segment in record.segments
    )
    total, done = sum(sum(segment.rows.values()) for segment in record.segments), 0
    pieces: list[pl.DataFrame] = []
    with closing(engine.map(build_segment, tasks, memory_bytes=_MEMORY_BYTES)) as built:
        for facts in built:
            builds.add(facts)
            if facts.pieces is not None:
                pieces.append(facts.pieces)
            done += facts.source_rows
            on_progress(Progress("build", f"segment {segment_name(facts.segment)}", done, total))
    records = builds.finish()
    if ranges is not None:
        staging.write_keys(ranges.as_json(), PieceIndex(pieces))
    trim_memory()
    return records


def _plan(staging: StagingFolder, record: StagingRecord, index: PieceIndex, range_rows: int) -> KeyRanges:
    """Cut the keys by what was staged: by some rows of pieces that are spread over the segments."""
    rows = {name: relation.rows for name, relation in record.source.relations.items()}
    pieces = index.frame.filter(kind=GLEIF_CANDIDATES.name)
    pieces = pieces.gather_every(max(1, pieces.height // _SAMPLED_PIECES))
    every = max(1, int(pieces["rows"].sum()) // _SAMPLED_LEIS)
    leis = [pl.Series([], dtype=pl.String)]
    for piece in pieces.iter_slices(1):  # one in memory at a time
        staged = staging.read_source(GLEIF_CANDIDATES, piece, include_full_data=record.include_full_data)
        leis.append(staged["lei_code"].gather_every(every))
    return plan_key_ranges(rows[DOMAINS.name], rows[GLEIF_CANDIDATES.name], pl.concat(leis), range_rows)


def _require_all(staging: StagingFolder, segments: Sequence[SegmentRecord], index: PieceIndex) -> None:
    """Compare the index with the record: a power cut may have left an older one.

    Raises:
        StagingError: They differ.
    """
    for segment in segments:
        for table in SOURCE_TABLES:
            rows = int(index.of(table.name, segment.segment)["rows"].sum())
            if rows != segment.rows.get(table.name, 0):
                found = f"{rows} rows of {segment.rows.get(table.name, 0)} in segment {segment_name(segment.segment)}"
                raise damaged(staging.staging_id, staging.source_dir / table.name, found)
