"""The third stage of a run: the rows of one key range, of all segments, into the range's files of the derived tables.

Counts of the summaries add up over ranges: each domain and each LEI is in one of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from pipelines.build.key_ranges import arrow_schema
from pipelines.build.pieces import read_pieces
from pipelines.build.rules import BY_HASH, BY_LEI, DOMAINS, RULES, range_kind
from pipelines.build.staging import StagingFolder, damaged
from pipelines.build.table_build import TablePart, timed, write_part
from pipelines.checks.evaluation import SumChecks


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
        sums: By table, the sums of its counts.
        counts: By summary and name, counts that add up over ranges (rules.py).
        timings: By table, seconds of its rules; `load`: of reading.
    """

    what: str
    parts: dict[str, TablePart] = field(default_factory=dict)
    sums: dict[str, dict[str, int]] = field(default_factory=dict)
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
            facts.sums[table.name] = SumChecks.sums_of(table, rows)
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
