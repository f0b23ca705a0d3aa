"""The rule of entities (DESIGN 4.4)."""

import polars as pl

from pipelines.contracts.orders import LATEST_LAST, LATEST_ROW
from pipelines.contracts.tables import ENTITIES
from pipelines.transform.ordering import sort_latest_last
from pipelines.transform.text import normalized_domain

# is_valid_lei is the same in every row of an LEI.
_OF_THE_LATEST = (*LATEST_ROW, "is_valid_lei")
# What is read of candidate_exports.
COLUMNS = ("lei_code", *LATEST_LAST, "domain", "batch_id", "rank_position", "is_primary_selection", *_OF_THE_LATEST)


def build_entities(candidate_exports: pl.DataFrame) -> pl.DataFrame:
    """One row per LEI.

    Args:
        candidate_exports: All rows of a set of LEIs; of its columns COLUMNS.

    Returns:
        Columns of the contract, sorted by lei_code. domain_count counts normalized domains: their hash is one of them.
    """
    rows = candidate_exports.lazy().with_columns(normalized_domain(pl.col("domain")))
    # Distinct pairs, sorted once: a sorted list of distinct values within each group takes several times as long. By
    # LEI as well: then the groups are runs, and this frame is in the order of the table.
    domains = (
        rows.select("lei_code", "domain")
        .unique()
        .sort("lei_code", "domain")
        .group_by("lei_code", maintain_order=True)
        .agg(pl.len().cast(pl.Int64).alias("domain_count"), pl.col("domain").alias("domains"))
    )
    figures = (
        sort_latest_last(rows)
        .group_by("lei_code", maintain_order=True)
        .agg(
            pl.col(_OF_THE_LATEST).last(),
            pl.len().cast(pl.Int64).alias("candidate_count"),
            pl.col("batch_id").n_unique().cast(pl.Int64).alias("batch_count"),
            pl.col("is_primary_selection").sum().cast(pl.Int64).alias("primary_count"),
            pl.col("rank_position").min().alias("best_rank"),
            pl.col("created_at").min().alias("first_seen_at"),
            pl.col("created_at").max().alias("last_seen_at"),
        )
    )
    return (
        domains.join(figures, on="lei_code", maintain_order="left")
        .select(ENTITIES.columns.keys())
        .collect(engine="in-memory")
    )
