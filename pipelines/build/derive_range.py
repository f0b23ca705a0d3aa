"""The third stage of a run: the rows of one key range, of all segments, into the range's files of the derived tables.

Counts of the summaries add up over ranges: each domain and each LEI is in one of them.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import polars as pl
import pyarrow as pa

from pipelines.build.key_ranges import BY_HASH, BY_LEI, DOMAINS, read_key_pieces
from pipelines.build.staging import StagingFolder, damaged
from pipelines.build.table_build import TablePart, write_part
from pipelines.checks.evaluation import SumChecks
from pipelines.contracts.tables import BATCH_SUMMARIES, ENTITIES, JURISDICTION_SUMMARIES, UNIQUE_DOMAINS, Table
from pipelines.transform import batch_summaries, entities, jurisdiction_summaries, unique_domains


@dataclass(frozen=True)
class RangeTask:
    """A range to compute.

    Attributes:
        number: The range.
        pieces: Where its rows are (pieces.INDEX): of DOMAINS and BY_HASH for a range of hashes, else of BY_LEI.
        names: The tables that are wanted.
    """

    staging: StagingFolder
    number: int
    pieces: Mapping[str, pl.DataFrame]
    names: frozenset[str]

    @property
    def is_of_hashes(self) -> bool:
        """Whether it is a range of domain hashes; else it is one of LEIs."""
        return DOMAINS in self.pieces


@dataclass
class RangeFacts:
    """What came of it.

    Attributes:
        what: What the range is of, for people.
        parts: By table, what was written.
        sums: By table, the sums of its counts.
        counts: By summary and kind of count, counts that add up over ranges.
        timings: By table, seconds of its rules; `load`: of reading.
    """

    what: str
    parts: dict[str, TablePart] = field(default_factory=dict)
    sums: dict[str, dict[str, int]] = field(default_factory=dict)
    counts: dict[str, pl.DataFrame] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count the seconds of the body."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.monotonic() - started

    def build(self, task: RangeTask, table: Table, rule: Callable[[], pl.DataFrame]) -> None:
        """Compute the rows of a table, where it is wanted, and write them."""
        if table.name not in task.names:
            return
        with self.timed(table.name):
            rows = rule()
        self.sums[table.name] = SumChecks.sums_of(table, rows)
        self.parts[table.name] = write_part(rows, table, task.staging.tables_dir, task.number)

    def count(self, task: RangeTask, table: Table, name: str, rule: Callable[[], pl.DataFrame]) -> None:
        """Compute counts of a summary, where it is wanted."""
        if table.name in task.names:
            with self.timed(table.name):
                self.counts[name] = rule()


def derive_range(task: RangeTask) -> RangeFacts:
    """Compute a range of keys.

    Raises:
        StagingError: Its rows can't be read.
        PublishError: A file can't be written.
    """
    return _derive_hashes(task) if task.is_of_hashes else _derive_leis(task)


def _derive_hashes(task: RangeTask) -> RangeFacts:
    facts = RangeFacts("domains of all batches")
    with facts.timed("load"):
        domains = _read(task, DOMAINS)
        candidates = _read(task, BY_HASH).join(
            domains.select("domain_id", "domain_hash"), on="domain_id", maintain_order="left"
        )
    facts.build(task, UNIQUE_DOMAINS, partial(unique_domains.build_unique_domains, domains, candidates))
    counted = partial(batch_summaries.count_batch_results, domains)
    facts.count(task, BATCH_SUMMARIES, "batch_results", counted)
    counted = partial(jurisdiction_summaries.count_jurisdiction_domains, candidates)
    facts.count(task, JURISDICTION_SUMMARIES, "jurisdiction_domains", counted)
    return facts


def _derive_leis(task: RangeTask) -> RangeFacts:
    facts = RangeFacts("entities")
    with facts.timed("load"):
        candidates = _read(task, BY_LEI)
    facts.build(task, ENTITIES, partial(entities.build_entities, candidates))
    counted = partial(batch_summaries.count_batch_candidates, candidates)
    facts.count(task, BATCH_SUMMARIES, "batch_candidates", counted)
    counted = partial(jurisdiction_summaries.count_jurisdiction_candidates, candidates)
    facts.count(task, JURISDICTION_SUMMARIES, "jurisdiction_candidates", counted)
    return facts


def _read(task: RangeTask, kind: str) -> pl.DataFrame:
    folder = task.staging.keys_dir
    try:
        return read_key_pieces(folder, kind, task.pieces[kind])
    except (OSError, pa.ArrowException) as error:
        raise damaged(task.staging.staging_id, folder / kind, type(error).__name__) from None
