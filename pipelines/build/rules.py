"""How each derived table is computed from domain_exports and candidate_exports: the one place that a new table needs.

A row depends on the rows of its key alone: its domain's, its LEI's, its batch's. So a table is computed by ranges of
keys, or for some keys only, by the same rules of pipelines/transform.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from pipelines.contracts.tables import (
    BATCH_SUMMARIES,
    DERIVED_TABLES,
    ENTITIES,
    JURISDICTION_SUMMARIES,
    UNIQUE_DOMAINS,
    Table,
)
from pipelines.transform import batch_summaries, entities, jurisdiction_summaries, unique_domains

# Kinds of rows by key range: domain rows by hash, candidates by hash, candidates by LEI.
DOMAINS, BY_HASH, BY_LEI = "domains", "by_hash", "by_lei"
FromRows = Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]
"""From rows of domain_exports and of candidate_exports."""


@dataclass(frozen=True)
class Rule:
    """How a table is computed.

    Attributes:
        key_of: The key of a row of either input, an expression on its columns.
        columns: By kind, the columns that are read.
        build: Of a table in key ranges: its rows, from all rows of some keys. Its range_key says which ranges.
        counts: Of a summary: by name the kind of ranges (BY_HASH or BY_LEI) and what is counted there. Counts of
            ranges, one below the other, are counts of the whole.
        merge: Of a summary: its rows, from the counts by name and from `measured` columns of all rows.
        measured: Columns of domain_exports that are read of all rows at once: averages and medians do not add up.
    """

    key_of: pl.Expr
    columns: Mapping[str, Sequence[str]]
    build: FromRows | None = None
    counts: Mapping[str, tuple[str, FromRows]] = field(default_factory=dict)
    merge: Callable[[Mapping[str, pl.DataFrame], pl.DataFrame], pl.DataFrame] | None = None
    measured: Sequence[str] = ()

    @property
    def of_domains(self) -> tuple[str, ...]:
        """Columns of domain_exports that a row depends on."""
        return tuple(dict.fromkeys((*self.columns.get(DOMAINS, ()), *self.measured)))

    @property
    def of_candidates(self) -> tuple[str, ...]:
        """Columns of candidate_exports that a row depends on."""
        return tuple(dict.fromkeys((*self.columns.get(BY_HASH, ()), *self.columns.get(BY_LEI, ()))))

    def rows(self, domains: pl.DataFrame, candidates: pl.DataFrame) -> pl.DataFrame:
        """Rows of the table, from all rows of some keys."""
        if self.build is not None:
            return self.build(domains, candidates)
        assert self.merge is not None  # noqa: S101  a rule has one of the two
        return self.merge({name: count(domains, candidates) for name, (_, count) in self.counts.items()}, domains)


RULES: Mapping[Table, Rule] = {
    UNIQUE_DOMAINS: Rule(
        key_of=pl.col("domain_hash"),
        columns={DOMAINS: unique_domains.DOMAIN_COLUMNS, BY_HASH: unique_domains.CANDIDATE_COLUMNS},
        build=unique_domains.build_unique_domains,
    ),
    ENTITIES: Rule(
        key_of=pl.col("lei_code"),
        columns={BY_LEI: entities.COLUMNS},
        build=lambda _, candidates: entities.build_entities(candidates),
    ),
    BATCH_SUMMARIES: Rule(
        key_of=pl.col("batch_id"),
        columns={DOMAINS: batch_summaries.RESULT_COLUMNS, BY_LEI: batch_summaries.CANDIDATE_COLUMNS},
        counts={
            "results": (BY_HASH, lambda domains, _: batch_summaries.count_batch_results(domains)),
            "candidates": (BY_LEI, lambda _, candidates: batch_summaries.count_batch_candidates(candidates)),
        },
        merge=lambda counts, rows: batch_summaries.build_batch_summaries(
            counts["results"], counts["candidates"], batch_summaries.measure_batches(rows)
        ),
        measured=batch_summaries.MEASURE_COLUMNS,
    ),
    JURISDICTION_SUMMARIES: Rule(
        key_of=jurisdiction_summaries.jurisdiction_key(),
        columns={
            BY_HASH: jurisdiction_summaries.DOMAIN_COLUMNS,
            BY_LEI: jurisdiction_summaries.LEI_COLUMNS,
        },
        counts={
            "domains": (BY_HASH, lambda _, rows: jurisdiction_summaries.count_jurisdiction_domains(rows)),
            "candidates": (BY_LEI, lambda _, rows: jurisdiction_summaries.count_jurisdiction_candidates(rows)),
        },
        merge=lambda counts, _: jurisdiction_summaries.build_jurisdiction_summaries(
            counts["candidates"], counts["domains"]
        ),
    ),
}
assert tuple(RULES) == DERIVED_TABLES  # noqa: S101


def range_kind(table: Table) -> str:
    """The kind of ranges that a table in key ranges has a file for each of."""
    return BY_LEI if table.range_key == "lei_code" else BY_HASH


def kinds_of(table: Table) -> frozenset[str]:
    """The kinds of ranges that a table is computed from: BY_HASH, BY_LEI or both."""
    rule = RULES[table]
    return frozenset({range_kind(table)} if rule.build else {kind for kind, _ in rule.counts.values()})


def columns_of(kind: str) -> frozenset[str]:
    """Columns that all tables together read of a kind of rows."""
    return frozenset(name for rule in RULES.values() for name in rule.columns.get(kind, ()))
