"""The third stage of a run for all ranges: the derived tables (DESIGN 4.3 to 4.5).

A run that reuses segments computes only the rows of keys whose rows changed (incremental.py),
unless these are many; then all segments are divided into key ranges, the reused ones from their Parquet files.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import polars as pl
import polars.selectors as cs
import pyarrow.parquet as pq

from pipelines.build.base import base_snapshot
from pipelines.build.build_segment import DivideTask, divide_segment
from pipelines.build.derive_range import RangeFacts, RangeTask, derive_range, patch_range, plan_patch
from pipelines.build.incremental import IncrementalUpdate, Inputs, KeyPatch
from pipelines.build.key_ranges import RANGE_ROWS, KeyRanges, plan_key_ranges, range_count
from pipelines.build.pieces import PieceIndex
from pipelines.build.rules import BY_HASH, BY_LEI, DOMAINS, RULES, Rule, kinds_of, range_kind
from pipelines.build.staging import StagingFolder
from pipelines.build.stagings import claim_staging
from pipelines.build.table_build import TableBuild, scan_files, timed, write_part
from pipelines.checks.definitions import summed_counts
from pipelines.contracts.records import TableRecord
from pipelines.contracts.tables import DERIVED_TABLES, ENTITIES, UNIQUE_DOMAINS
from pipelines.engine.flow import Engine
from pipelines.engine.local import LOCAL
from pipelines.errors import StagingError
from pipelines.progress import OnProgress, Progress, ignore_progress
from pipelines.settings import Settings
from pipelines.snapshots.opening import Snapshot
from pipelines.system.memory import trim_memory
from pipelines.system.run_lock import RunLock, guarded

# A range of RANGE_ROWS candidates, while it is computed.
_MEMORY_BYTES = 256 * 2**20
# More rows than two ranges have are not computed in one go.
_RANGES_IN_ONE_GO = 2
# Ranges of so many times the rows that they were cut for are cut again.
_MOST_GROWTH = 2


@guarded
def build_derived_tables(  # noqa: PLR0913 - a stage of a run
    settings: Settings,
    lock: RunLock,
    names: Sequence[str] | None = None,
    on_progress: OnProgress = ignore_progress,
    *,
    engine: Engine = LOCAL,
    range_rows: int = RANGE_ROWS,
) -> list[TableRecord]:
    """Build tables from domain_exports and candidate_exports of the last complete staging.

    Args:
        names: Tables to build; None is all.
        range_rows: Rows of a key range, about.

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
    inputs = Inputs(staging.tables_dir, _built(staging, "domain_exports"), _built(staging, "candidate_exports"))
    builds = {table.name: TableBuild(table, staging, record, lock.digests) for table in tables}
    derivation = _Derivation(staging, inputs, engine, on_progress, range_rows, builds, as_a_whole=set(builds))
    base = None if record.base_snapshot is None else base_snapshot(settings.export_dir, record)
    if base is not None:
        derivation.patch(base, frozenset(segment.segment for segment in record.segments))
    try:
        if derivation.as_a_whole:
            keys = staging.read_keys()
            if keys is None:
                ranges = derivation.plan(base)
                index = derivation.divide(ranges)
            else:
                ranges, index = KeyRanges.from_json(keys[0]), keys[1]
            derivation.build(ranges, index)
    finally:
        staging.remove_keys()
    records = derivation.finish()
    trim_memory()
    return records


@dataclass
class _Derivation:
    """The wanted tables, and what the summaries add up while ranges come.

    Attributes:
        as_a_whole: Names of those that are computed as a whole.
    """

    staging: StagingFolder
    inputs: Inputs
    engine: Engine
    on_progress: OnProgress
    range_rows: int
    builds: dict[str, TableBuild]
    as_a_whole: set[str]
    counts: defaultdict[tuple[str, str], list[pl.DataFrame]] = field(default_factory=lambda: defaultdict(list))

    def patch(self, base: Snapshot, changed: frozenset[int | None]) -> None:
        """Compute only what changed of each table, where that is not too much."""
        before = Inputs(base.folder, base.record_of("domain_exports"), base.record_of("candidate_exports"))
        max_rows = _RANGES_IN_ONE_GO * self.range_rows
        update = IncrementalUpdate(before, self.inputs, changed, max_rows, self.builds.keys())
        for name, build in self.builds.items():
            if build.table.range_key is not None and self._has_outgrown_its_ranges(base):
                continue
            with timed(build.timings, "transform"):
                part = update.patch_of(build.table)
            if part is None:
                continue
            self.on_progress(Progress("build", f"{name}: {part.keys.len():,} rows looked at again"))
            kept = base.scan(name).filter(~pl.col(build.table.key[0]).is_in(part.keys.implode()))
            sums = kept.select(pl.col(summed_counts(build.table)).cast(pl.Int64).sum()).collect(engine="streaming")
            build.checks.add_sums(sums)
            self._rewrite(build, base, part)
            self.as_a_whole.discard(name)

    def _rewrite(self, build: TableBuild, base: Snapshot, part: KeyPatch) -> None:
        """Take a table from a published snapshot, and write only the files again that hold a changed key."""
        tasks = plan_patch(build.table, self.staging, base, part.keys, part.rows)
        build.cut_at(base.record_of(build.table.name).cuts)
        build.reuse(base, frozenset(task.number for task in tasks))
        with closing(self.engine.map(patch_range, tasks, memory_bytes=_MEMORY_BYTES)) as patched:
            for written in patched:
                build.add(written)

    def plan(self, base: Snapshot | None) -> KeyRanges:
        """Cut the keys: as they are published, or by some row groups of candidate_exports."""
        if base is not None and not self._has_outgrown_its_ranges(base):
            hash_cuts, lei_cuts = (base.record_of(table.name).cuts for table in (UNIQUE_DOMAINS, ENTITIES))
            return KeyRanges(len(hash_cuts) + 1, lei_cuts)
        domains, candidates = self.inputs.domains, self.inputs.candidates
        samples = [pl.Series([], dtype=pl.String)]
        for file in candidates.files:
            with pq.ParquetFile(self.inputs.folder / file.path) as parquet:
                if parquet.num_row_groups:
                    group = parquet.read_row_group(parquet.num_row_groups // 2, columns=["lei_code"])
                    samples.append(pl.Series(group["lei_code"].combine_chunks(), dtype=pl.String))
        return plan_key_ranges(domains.rows, candidates.rows, pl.concat(samples), self.range_rows)

    def divide(self, ranges: KeyRanges) -> PieceIndex:
        """Divide the rows of all segments into key ranges, from their Parquet files."""
        self.staging.start_keys()
        candidates = {file.segment: file.path for file in self.inputs.candidates.files}
        tasks = (
            DivideTask(self.staging, file.segment, file.path, candidates.get(file.segment), ranges)
            for file in self.inputs.domains.files
        )
        with (
            timed(next(iter(self.builds.values())).timings, "divide"),  # done once for all tables
            closing(self.engine.map(divide_segment, tasks, memory_bytes=_MEMORY_BYTES)) as divided,
        ):
            index = PieceIndex(divided)
        trim_memory()
        self.staging.write_keys(ranges.as_json(), index)
        return index

    def build(self, ranges: KeyRanges, index: PieceIndex) -> None:
        """Compute the tables that are computed as a whole, range by range."""
        names = frozenset(self.as_a_whole)
        for table in RULES:
            if table.name in names and table.range_key is not None:
                self.builds[table.name].cut_at(ranges.cuts(range_kind(table)))
        tasks = [*self._tasks(index, BY_HASH, ranges, names), *self._tasks(index, BY_LEI, ranges, names)]
        with closing(self.engine.map(derive_range, tasks, memory_bytes=_MEMORY_BYTES)) as derived:
            for done, facts in enumerate(derived, 1):
                self._add(facts)
                self.on_progress(Progress("summarize", facts.what, done, len(tasks)))
        for table, rule in RULES.items():
            if table.name in names and rule.merge is not None:
                with timed(self.builds[table.name].timings, "transform"):
                    counts = {name: pl.concat(self.counts.pop((table.name, name))) for name in rule.counts}
                    rows = rule.merge(counts, self._measured(rule))
                self.builds[table.name].add(write_part(rows, table, self.inputs.folder, None))

    def finish(self) -> list[TableRecord]:
        """Close the tables."""
        rows = {table.name: table.rows for table in (self.inputs.domains, self.inputs.candidates)}
        return [build.finish(build.checks.sum_results(rows)) for build in self.builds.values()]

    def _tasks(self, index: PieceIndex, kind: str, ranges: KeyRanges, names: frozenset[str]) -> Iterator[RangeTask]:
        kinds = (DOMAINS, BY_HASH) if kind == BY_HASH else (BY_LEI,)
        wanted = frozenset(table.name for table in RULES if table.name in names and kind in kinds_of(table))
        for number in range(len(ranges.cuts(kind)) + 1 if wanted else 0):
            yield RangeTask(self.staging, number, {each: index.of(each, number) for each in kinds}, wanted)

    def _add(self, facts: RangeFacts) -> None:
        for name, part in facts.parts.items():
            self.builds[name].add(part)
        for count, frame in facts.counts.items():
            self.counts[count].append(frame)
        for name, seconds in facts.timings.items():
            # Reading is done once for all tables.
            build = self.builds.get(name) or next(iter(self.builds.values()))
            build.timings["transform" if name in self.builds else name] += seconds

    def _measured(self, rule: Rule) -> pl.DataFrame:
        """The columns that a summary reads of all rows at once; texts, such as the batch, as numbers."""
        if not rule.measured:
            return pl.DataFrame()
        texts = cs.string().cast(pl.Categorical(pl.Categories.random()))
        domains = scan_files(self.inputs.folder, self.inputs.domains.files)
        return domains.select(rule.measured).with_columns(texts).collect()

    def _has_outgrown_its_ranges(self, base: Snapshot) -> bool:
        """Whether there are so many more rows that the keys are to be cut again; both kinds were cut for the same rows.

        LEIs may have fewer ranges: one LEI is in one range, however many rows it has.
        """
        ranges = len(base.record_of(UNIQUE_DOMAINS.name).cuts) + 1
        rows = max(self.inputs.domains.rows, self.inputs.candidates.rows)
        return range_count(rows, self.range_rows) > _MOST_GROWTH * ranges


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
