"""What of a derived table has to be computed anew in a run that took most segments over (DESIGN 4): rows of some keys.

A row of a derived table depends on the rows of its key alone: its domain's, its LEI's, its batch's. So where few keys
have rows that changed, only their rows are computed, from all segments, by the same rules; the rest is the base's.
Belongs here: which keys, and the rows to compute them from. Does not: rules (transform/), writing (table_build.py).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from pipelines.contracts.records import FileRecord
from pipelines.contracts.tables import (
    BATCH_SUMMARIES,
    DOMAIN_EXPORTS,
    ENTITIES,
    JURISDICTION_SUMMARIES,
    UNIQUE_DOMAINS,
    Table,
    candidate_exports,
)
from pipelines.reading.snapshots import Snapshot
from pipelines.transform import batch_summaries, entities, jurisdiction_summaries, unique_domains
from pipelines.transform.differences import differing_rows

_DOMAIN_ID, _CANDIDATE_ID = "domain_id", "candidate_id"
_KEY = "__key"


@dataclass(frozen=True)
class Rule:
    """How the rows of some keys of a derived table are computed.

    Attributes:
        domains: Columns of domain_exports that the table depends on.
        candidates: Columns of candidate_exports that it depends on.
        key_of: The key of a row of either, an expression on its columns.
        build: The rule, from the rows of some keys in both tables.
    """

    domains: Sequence[str]
    candidates: Sequence[str]
    key_of: pl.Expr
    build: Callable[[pl.LazyFrame, pl.LazyFrame], pl.LazyFrame]


def _batches(domains: pl.LazyFrame, candidates: pl.LazyFrame) -> pl.LazyFrame:
    return batch_summaries.build_batch_summaries(
        batch_summaries.count_batch_results(domains),
        batch_summaries.count_batch_candidates(candidates),
        batch_summaries.measure_batches(domains),
    )


def _jurisdictions(_: pl.LazyFrame, candidates: pl.LazyFrame) -> pl.LazyFrame:
    return jurisdiction_summaries.build_jurisdiction_summaries(
        jurisdiction_summaries.count_jurisdiction_candidates(candidates),
        jurisdiction_summaries.count_jurisdiction_domains(candidates),
    )


RULES: Mapping[str, Rule] = {
    UNIQUE_DOMAINS.name: Rule(
        unique_domains.DOMAIN_COLUMNS,
        unique_domains.CANDIDATE_COLUMNS,
        pl.col("domain_hash"),
        unique_domains.build_unique_domains,
    ),
    ENTITIES.name: Rule(
        (), entities.COLUMNS, pl.col("lei_code"), lambda _, candidates: entities.build_entities(candidates)
    ),
    BATCH_SUMMARIES.name: Rule(
        tuple(dict.fromkeys((*batch_summaries.RESULT_COLUMNS, *batch_summaries.MEASURE_COLUMNS))),
        batch_summaries.CANDIDATE_COLUMNS,
        pl.col("batch_id"),
        _batches,
    ),
    JURISDICTION_SUMMARIES.name: Rule(
        (),
        tuple(dict.fromkeys((*jurisdiction_summaries.LEI_COLUMNS, *jurisdiction_summaries.DOMAIN_COLUMNS))),
        jurisdiction_summaries.jurisdiction_key(),
        _jurisdictions,
    ),
}


@dataclass(frozen=True)
class Rederived:
    """The part of a table that is computed anew.

    Attributes:
        keys: Keys whose rows in the base no longer count.
        rows: Their rows now; a key without one is gone.
    """

    keys: pl.Series
    rows: pl.DataFrame


@dataclass(frozen=True)
class State:
    """domain_exports and candidate_exports at one time.

    Attributes:
        folder: Where the paths of the files begin.
        domains: Files of domain_exports.
        candidates: Files of candidate_exports.
    """

    folder: Path
    domains: Sequence[FileRecord]
    candidates: Sequence[FileRecord]

    def scan(self, which: Sequence[FileRecord], segments: frozenset[int | None] | None = None) -> pl.LazyFrame | None:
        """Rows of files, all or of some segments; None where there is no such file."""
        paths = [self.folder / file.path for file in which if segments is None or file.segment in segments]
        return pl.scan_parquet(paths, glob=False, hive_partitioning=False) if paths else None


@dataclass
class Rederivation:
    """Finds out, table by table, what has to be computed anew.

    Attributes:
        base: The snapshot that the other segments are taken from.
        now: Both tables as they are now, all segments.
        changed: The segments that were read anew.
        most_rows: More rows than these are not computed in one go.
    """

    base: Snapshot
    now: State
    changed: frozenset[int | None]
    most_rows: int
    _domains: pl.DataFrame = field(init=False)
    _candidates: pl.DataFrame = field(init=False)
    _before: State = field(init=False)

    def __post_init__(self) -> None:
        """Compare the changed segments once, by all columns that any derived table depends on."""
        of_candidates = candidate_exports(include_full_data=self.base.manifest.include_full_data).name
        self._before = State(
            self.base.folder,
            self.base.record_of(DOMAIN_EXPORTS.name).files,
            self.base.record_of(of_candidates).files,
        )
        self._domains = self._differing(
            self._before.domains, self.now.domains, _columns(_DOMAIN_ID, (rule.domains for rule in RULES.values()))
        )
        self._candidates = self._differing(
            self._before.candidates,
            self.now.candidates,
            _columns(_CANDIDATE_ID, (rule.candidates for rule in RULES.values())),
        )

    def rederive(self, table: Table) -> Rederived | None:
        """The rows of a table that have to be computed anew; none where no row that it depends on changed.

        Returns:
            None where they depend on more than `most_rows` rows: the table is to be computed as a whole.
        """
        rule = RULES[table.name]
        keys = self._changed_keys(rule)
        if keys.is_empty():
            return Rederived(keys, table.schema.create_empty())
        if keys.len() > self.most_rows:
            return None
        domains = self._rows_of(self.now.domains, rule.domains, rule.key_of, keys)
        candidates = self._rows_of(self.now.candidates, rule.candidates, rule.key_of, keys)
        if domains.height + candidates.height > self.most_rows:
            return None
        rows = rule.build(domains.lazy(), candidates.lazy()).collect(engine="in-memory")
        return Rederived(keys, rows)

    def _differing(
        self, before: Sequence[FileRecord], now: Sequence[FileRecord], columns: Sequence[str]
    ) -> pl.DataFrame:
        """Segment by segment: two segments in memory."""
        found = []
        for segment in sorted({file.segment for file in (*before, *now)} & self.changed, key=str):
            one = frozenset({segment})
            old, new = self._before.scan(before, one), self.now.scan(now, one)
            known = old if old is not None else new
            if known is not None:
                empty = known.clear()
                found.append(differing_rows(empty if old is None else old, empty if new is None else new, columns))
        return pl.concat(found) if found else pl.DataFrame(schema=dict.fromkeys(columns, pl.String()))

    def _changed_keys(self, rule: Rule) -> pl.Series:
        """Keys of the rows that differ in a column that the table depends on."""
        found = []
        for rows, columns, row_id in (
            (self._domains, rule.domains, _DOMAIN_ID),
            (self._candidates, rule.candidates, _CANDIDATE_ID),
        ):
            if columns and not rows.is_empty():
                # A row stands here before and after; what is there twice differs in other columns only.
                distinct = rows.select(*dict.fromkeys((row_id, *columns)))
                changed = distinct.filter(~distinct.is_duplicated())
                found.append(changed.select(rule.key_of.alias(_KEY)).to_series())
        return pl.concat(found).unique() if found else pl.Series(_KEY, [], pl.String)

    def _rows_of(
        self, files: Sequence[FileRecord], columns: Sequence[str], key_of: pl.Expr, keys: pl.Series
    ) -> pl.DataFrame:
        """Rows of some keys, of all segments: one more than `most_rows` at most."""
        scan = self.now.scan(files)
        if scan is None or not columns:
            return pl.DataFrame()
        wanted = scan.select(columns).with_columns(key_of.alias(_KEY))
        of_keys = wanted.join(keys.to_frame(_KEY).lazy(), on=_KEY, how="semi")
        return of_keys.drop(_KEY).head(self.most_rows + 1).collect(engine="streaming")


def _columns(row_id: str, wanted: Iterable[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys((row_id, *(name for columns in wanted for name in columns))))
