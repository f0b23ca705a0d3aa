"""The published tables: name, schema, grain, order, layout, and the projections of a schema that other rooms need.

Belongs here: what is published under which name. Does not: how it is computed, written or checked.
"""

from dataclasses import dataclass

import dataframely as dy
import polars as pl

from pipelines.contracts import exports

_DUCKDB_TYPES: dict[pl.DataType, str] = {
    pl.Int32(): "INTEGER",
    pl.Int64(): "BIGINT",
    pl.UInt32(): "UINTEGER",
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
        is_segmented: One Parquet file per segment, else one `all.parquet`.
    """

    name: str
    schema: type[dy.Schema]
    grain: str
    sort_by: tuple[str, ...]
    is_segmented: bool

    @property
    def columns(self) -> dict[str, dy.Column]:
        """Columns by name, in published order."""
        return self.schema.columns()

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
        return {name: _DUCKDB_TYPES[column.dtype] for name, column in self.columns.items()}

    @property
    def description(self) -> str:
        """Description of the table for catalogues and COMMENT ON TABLE."""
        return f"{self.grain} Key: {', '.join(self.key)}. Sorted by {', '.join(self.sort_by)}."

    @property
    def column_descriptions(self) -> dict[str, str]:
        """Description of each column with its unit, for catalogues and COMMENT ON COLUMN."""
        return {name: _described(column) for name, column in self.columns.items()}


def _described(column: dy.Column) -> str:
    unit = (column.metadata or {}).get("unit")
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
    is_segmented=False,
)


def candidate_exports(*, include_full_data: bool) -> Table:
    """The table candidate_exports, with gleif_full_data or without (INCLUDE_FULL_DATA)."""
    return Table(
        name="candidate_exports",
        schema=exports.CandidateExportsWithFullData if include_full_data else exports.CandidateExports,
        grain="One row per domain row and LEI; of several the first in rank order.",
        sort_by=("domain_id", "rank_position", "candidate_id"),
        is_segmented=True,
    )


def published_tables(*, include_full_data: bool) -> tuple[Table, ...]:
    """All published tables, in the order in which they are built."""
    return (DOMAIN_EXPORTS, candidate_exports(include_full_data=include_full_data), REJECTED_ROWS)
