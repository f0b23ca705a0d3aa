"""The rule of candidate_exports (DESIGN 4.2)."""

import polars as pl

from pipelines.contracts.tables import Table
from pipelines.transform.text import is_valid_lei
from pipelines.transform.validation import accepted


def build_candidate_exports(validated_candidates: pl.DataFrame, table: Table) -> pl.DataFrame:
    """One row per domain row and LEI.

    Args:
        validated_candidates: From `validate_candidates`, in rank order.
        table: The contract, with gleif_full_data or without.

    Returns:
        Columns of the contract, sorted by domain_id, then rank order.
    """
    return (
        accepted(validated_candidates)
        .with_columns(pl.col("id").alias("candidate_id"), is_valid_lei(pl.col("lei_code")).alias("is_valid_lei"))
        .select(table.columns.keys())
    )
