"""The published tables: name, schema, grain, order, layout, and the projections of a schema that other rooms need."""

from dataclasses import dataclass
from functools import cache

import dataframely as dy
import polars as pl

from pipelines.contracts import exports, summaries
from pipelines.contracts.columns import Storage, sources_of, storage_of, unit_of
from pipelines.contracts.orders import RANK_ORDER

DUCKDB_TYPES: dict[pl.DataType, str] = {
    pl.Int32(): "INTEGER",
    pl.Int64(): "BIGINT",
    pl.Float32(): "FLOAT",
    pl.Float64(): "DOUBLE",
    pl.String(): "VARCHAR",
    pl.Boolean(): "BOOLEAN",
    pl.Datetime("us"): "TIMESTAMP",
    pl.List(pl.String()): "VARCHAR[]",
}


@dataclass(frozen=True)
class Table:
    """A published table.

    Attributes:
        name: Its one name: DuckDB table, Parquet folder, last part of the asset key (DESIGN 4).
        schema: Columns in published order.
        grain: What one row is.
        sort_by: Columns of the sort order, all ascending with NULL last.
        is_segmented: One Parquet file per segment, of the rows whose domain_id is in it.
        range_key: The column whose ranges have a Parquet file each; None: a segmented table, or one `all.parquet`.
    """

    name: str
    schema: type[dy.Schema]
    grain: str
    sort_by: tuple[str, ...]
    is_segmented: bool = False
    range_key: str | None = None

    @property
    def divided_by(self) -> str:
        """The column whose ranges its files are."""
        return self.range_key or "domain_id"

    @property
    def columns(self) -> dict[str, dy.Column]:
        """Columns by name, in published order."""
        return _columns(self.schema)

    @property
    def key(self) -> tuple[str, ...]:
        """Columns of the primary key."""
        return tuple(self.schema.primary_key())

    @property
    def required(self) -> tuple[str, ...]:
        """Columns that never hold NULL."""
        return tuple(name for name, column in self.columns.items() if not column.nullable)

    @property
    def polars_schema(self) -> pl.Schema:
        """Dtypes by column name, in published order."""
        return pl.Schema({name: column.dtype for name, column in self.columns.items()})

    @property
    def duckdb_types(self) -> dict[str, str]:
        """DuckDB types by column name, in published order."""
        return {name: DUCKDB_TYPES[column.dtype] for name, column in self.columns.items()}

    @property
    def storage(self) -> dict[str, Storage | None]:
        """How the texts of each column are stored in DuckDB; None for a column of another type."""
        return {name: storage_of(column) for name, column in self.columns.items()}

    @property
    def description(self) -> str:
        """Description of the table for catalogues and COMMENT ON TABLE."""
        return f"{self.grain} Key: {', '.join(self.key)}. Sorted by {', '.join(self.sort_by)}."

    @property
    def column_descriptions(self) -> dict[str, str]:
        """Description of each column with its unit, for catalogues and COMMENT ON COLUMN."""
        return {name: _described(column) for name, column in self.columns.items()}

    @property
    def column_sources(self) -> dict[str, tuple[str, ...]]:
        """Per column the columns (`<table>.<column>`, of the source or of another export) that it is taken from."""
        return {name: sources_of(column) for name, column in self.columns.items()}


@cache
def _columns(schema: type[dy.Schema]) -> dict[str, dy.Column]:
    """The columns of a schema; dataframely gathers them from its classes each time: 0.2 ms."""
    return schema.columns()


def _described(column: dy.Column) -> str:
    unit = unit_of(column)
    text = column.description or ""
    return f"{text} ({unit})" if unit else text


DOMAIN_EXPORTS = Table(
    name="domain_exports",
    schema=exports.DomainExports,
    grain="One row per row of `domains` that is not rejected, with its candidates joined in rank order.",
    sort_by=("domain_id",),
    is_segmented=True,
)
REJECTED_ROWS = Table(
    name="rejected_rows",
    schema=exports.RejectedRows,
    grain="One row per source row that is in no export, and why.",
    sort_by=("domain_id", "source_table", "source_id"),
    is_segmented=True,
)
UNIQUE_DOMAINS = Table(
    name="unique_domains",
    schema=summaries.UniqueDomains,
    grain="One row per domain across all batches, with its best row and the LEIs of all its rows.",
    sort_by=("domain_hash",),
    range_key="domain_hash",
)
ENTITIES = Table(
    name="entities",
    schema=summaries.Entities,
    grain="One row per LEI, with the domains that it is a candidate of.",
    sort_by=("lei_code",),
    range_key="lei_code",
)
BATCH_SUMMARIES = Table(
    name="batch_summaries",
    schema=summaries.BatchSummaries,
    grain="One row per batch, with its counts, percentages and times.",
    sort_by=("batch_id",),
)
JURISDICTION_SUMMARIES = Table(
    name="jurisdiction_summaries",
    schema=summaries.JurisdictionSummaries,
    grain="One row per jurisdiction of candidates.",
    sort_by=("jurisdiction",),
)
# Computed from domain_exports and candidate_exports alone.
DERIVED_TABLES = (UNIQUE_DOMAINS, ENTITIES, BATCH_SUMMARIES, JURISDICTION_SUMMARIES)


def candidate_exports(*, include_full_data: bool) -> Table:
    """The table candidate_exports, with gleif_full_data or without (INCLUDE_FULL_DATA)."""
    return Table(
        name="candidate_exports",
        schema=exports.CandidateExportsWithFullData if include_full_data else exports.CandidateExports,
        grain="One row per domain row and LEI; of several the first in rank order.",
        sort_by=("domain_id", *RANK_ORDER),
        is_segmented=True,
    )


def segmented_tables(*, include_full_data: bool) -> tuple[Table, ...]:
    """The tables that are built from staged rows, segment by segment, in that order."""
    return (DOMAIN_EXPORTS, candidate_exports(include_full_data=include_full_data), REJECTED_ROWS)


def published_tables(*, include_full_data: bool) -> tuple[Table, ...]:
    """All published tables, in the order in which they are built."""
    return (*segmented_tables(include_full_data=include_full_data), *DERIVED_TABLES)
