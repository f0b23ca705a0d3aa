"""The rule of rejected_rows (DESIGN 4.6)."""

import dataframely as dy
import polars as pl

from pipelines.contracts.source import DOMAINS, GLEIF_CANDIDATES, SourceTable, source_columns
from pipelines.contracts.tables import REJECTED_ROWS

_ISO_UTC = "%Y-%m-%dT%H:%M:%S%.6fZ"


def build_rejected_rows(
    judged_domains: pl.DataFrame, judged_candidates: pl.DataFrame, *, include_full_data: bool
) -> pl.DataFrame:
    """Every rejected row of both source tables, with its reason and the row as JSON.

    Args:
        judged_domains: From `validate_domains`.
        judged_candidates: From `validate_candidates`.
        include_full_data: Whether gleif_full_data is part of row_json.

    Returns:
        Columns of the contract, sorted by domain_id (NULL last), source_table, source_id.
    """
    parts = [
        _rejected(judged_domains, DOMAINS, source_columns(DOMAINS, include_full_data=include_full_data)),
        _rejected(
            judged_candidates, GLEIF_CANDIDATES, source_columns(GLEIF_CANDIDATES, include_full_data=include_full_data)
        ),
    ]
    return pl.concat(parts).sort(REJECTED_ROWS.sort_by, nulls_last=True).select(REJECTED_ROWS.columns.keys())


def _rejected(judged: pl.DataFrame, table: SourceTable, columns: dict[str, dy.Column]) -> pl.DataFrame:
    values = [
        pl.col(name).dt.strftime(_ISO_UTC) if column.dtype.is_temporal() else pl.col(name)
        for name, column in columns.items()
    ]
    return judged.filter(pl.col("reason").is_not_null()).select(
        pl.lit(table.name).alias("source_table"),
        pl.col("id").alias("source_id"),
        pl.col(table.segment_column).alias("domain_id"),
        "reason",
        "detail",
        pl.struct(values).struct.json_encode().alias("row_json"),
    )
