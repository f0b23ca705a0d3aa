"""The third stage of a run: the rows of one key range, of all segments, into the range's files of the derived tables.

Counts of the summaries add up over ranges: each domain and each LEI is in one of them. A run that reuses segments
replaces the rows of some keys in the published files instead (`patch_range`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow as pa

from pipelines.build.key_ranges import arrow_schema
from pipelines.build.pieces import read_pieces
from pipelines.build.rules import BY_HASH, BY_LEI, DOMAINS, RULES, range_kind
from pipelines.build.staging import StagingFolder, damaged
from pipelines.build.table_build import TablePart, file_name, timed, write_part
from pipelines.checks.evaluation import TableChecks
from pipelines.contracts.tables import Table
from pipelines.snapshots.opening import Snapshot
from pipelines.snapshots.parquet import write_parquet


@dataclass(frozen=True)
class RangeTask:
    """A range to compute.

    Attributes:
        pieces: Where its rows are (pieces.INDEX): of DOMAINS and BY_HASH for a range of hashes, else of BY_LEI.
    """

    staging: StagingFolder
    number: int
    pieces: Mapping[str, pl.DataFrame]
    names: frozenset[str]


@dataclass
class RangeFacts:
    """What came of it.

    Attributes:
        what: What the range is of, for people.
        parts: By table, what was written.
        counts: By summary and name, counts that add up over ranges (rules.py).
        timings: By table, seconds of its rules; `load`: of reading.
    """

    what: str
    parts: dict[str, TablePart] = field(default_factory=dict)
    counts: dict[tuple[str, str], pl.DataFrame] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)


def derive_range(task: RangeTask) -> RangeFacts:
    """Compute a range of keys.

    Raises:
        StagingError: Its rows can't be read.
        PublishError: A file can't be written.
    """
    kind = BY_HASH if DOMAINS in task.pieces else BY_LEI
    facts = RangeFacts("domains of all batches" if kind == BY_HASH else "entities")
    with timed(facts.timings, "load"):
        domains, candidates = _read(task, kind)
    for table, rule in RULES.items():
        if table.name not in task.names:
            continue
        if rule.build is not None and range_kind(table) == kind:
            with timed(facts.timings, table.name):
                rows = rule.build(domains, candidates)
            facts.parts[table.name] = write_part(rows, table, task.staging.tables_dir, task.number)
            del rows
        for name, (of_kind, count) in rule.counts.items():
            if of_kind == kind:
                with timed(facts.timings, table.name):
                    facts.counts[table.name, name] = count(domains, candidates)
    return facts


def _read(task: RangeTask, kind: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of domain_exports (none for a range of LEIs) and of candidate_exports."""
    candidates = _read_pieces(task, kind)
    if kind == BY_LEI:
        return pl.DataFrame(), candidates
    domains = _read_pieces(task, DOMAINS)
    hashes = domains.select("domain_id", "domain_hash")
    return domains, candidates.join(hashes, on="domain_id", maintain_order="left")


def _read_pieces(task: RangeTask, kind: str) -> pl.DataFrame:
    """Rows of the range in all segments, in the order of segments: key_ranges.SCHEMAS[kind]."""
    folder = task.staging.keys_dir
    try:
        return read_pieces(folder, task.pieces[kind], arrow_schema(kind))
    except (OSError, pa.ArrowException) as error:
        raise damaged(task.staging.staging_id, folder / kind, type(error).__name__) from None


@dataclass(frozen=True)
class PatchTask:
    """A file to write again.

    Attributes:
        number: The key range; None: all rows of the table.
        old: The published file; None: the range has none.
        keys: Keys whose rows in it no longer count.
    """

    staging: StagingFolder
    table: Table
    number: int | None
    old: Path | None
    keys: pl.Series
    rows: pl.DataFrame


def plan_patch(
    table: Table, staging: StagingFolder, base: Snapshot, keys: pl.Series, rows: pl.DataFrame
) -> list[PatchTask]:
    """Which files of a published derived table are to be written again: those that hold one of some keys.

    Args:
        keys: Keys whose rows in the snapshot no longer count.
        rows: Their rows now, sorted.
    """
    record = base.record_of(table.name)
    (key,) = table.key
    cuts = pl.Series(record.cuts, dtype=pl.String)
    # A table of one file is not cut: all keys are in its range, 0.
    stale, new = _by_range(keys.to_frame(key), key, cuts), _by_range(rows, key, cuts)
    old = {file.segment or 0: base.folder / file.path for file in record.files}
    return [
        PatchTask(
            staging=staging,
            table=table,
            number=number if table.range_key else None,
            old=old.get(number),
            keys=stale[number][key] if number in stale else keys.clear(),
            rows=new.get(number, rows.clear()),
        )
        for number in sorted(stale.keys() | new.keys())
    ]


def patch_range(task: PatchTask) -> TablePart:
    """Write a file again; only the rows that are new are checked.

    Raises:
        PublishError: The file can't be written.
    """
    checks, timings = TableChecks(task.table), dict[str, float]()
    (key,) = task.table.key
    rows = task.rows
    if not rows.is_empty():
        checks.update(rows)
    if task.old is not None:
        with timed(timings, "reuse"):
            old = pl.read_parquet(task.old, glob=False, hive_partitioning=False)
            old = old.filter(~pl.col(key).is_in(task.keys.implode()))
            rows = pl.concat([old, rows]).sort(key, nulls_last=True)
    if rows.is_empty():
        return TablePart(None, checks, timings)
    path = task.staging.tables_dir / task.table.name / file_name(task.table, task.number)
    with timed(timings, "write"):
        file = write_parquet(rows, path, table=task.table, segment=task.number)
    return TablePart(file, checks, timings)


def _by_range(rows: pl.DataFrame, key: str, cuts: pl.Series) -> dict[int, pl.DataFrame]:
    """Rows by the range that their key is in, in their order."""
    numbers = cuts.search_sorted(rows[key], side="right").cast(pl.Int64)
    parts = rows.with_columns(numbers.alias("__range")).partition_by(
        "__range", as_dict=True, include_key=False, maintain_order=True
    )
    return {int(number): part for (number,), part in parts.items()}
