"""The rule of unique_domains (DESIGN 4.3)."""

import polars as pl

from pipelines.contracts.exports import JOINED
from pipelines.contracts.orders import BEST_ROW, BEST_ROW_TIES, CONFIDENCE, LATEST_LAST, SUCCESS
from pipelines.contracts.tables import UNIQUE_DOMAINS
from pipelines.transform.domain_exports import fill_without_candidates, join_candidates
from pipelines.transform.ordering import number_and_rank, sort_best_first, sort_latest_last
from pipelines.transform.text import normalized_domain

# What is read of the two tables.
DOMAIN_COLUMNS = tuple(
    dict.fromkeys(
        ("domain_id", "domain_hash", "domain", "batch_id", "created_at", "processed_at")
        + (BEST_ROW + CONFIDENCE + BEST_ROW_TIES)
    )
)
CANDIDATE_COLUMNS = ("domain_hash", *JOINED.values(), "rank_position", *LATEST_LAST)


def build_unique_domains(domain_exports: pl.DataFrame, candidate_exports: pl.DataFrame) -> pl.DataFrame:
    """One row per domain across all batches.

    Args:
        domain_exports: All rows of a set of domain hashes; of its columns DOMAIN_COLUMNS.
        candidate_exports: All rows of the same hashes; of its columns CANDIDATE_COLUMNS.

    Returns:
        Columns of the contract, sorted by domain_hash.
    """
    all_rows, candidates = domain_exports.lazy(), candidate_exports.lazy()
    numbers = all_rows.select("domain_hash").unique().sort("domain_hash").with_row_index("domain_number")
    domains = _domains(all_rows.join(numbers, on="domain_hash"))
    leis = _leis(candidates.join(numbers, on="domain_hash"))
    return (
        domains.join(leis, on="domain_number", how="left")
        .with_columns(pl.col("distinct_lei_count").fill_null(0), *fill_without_candidates())
        .sort("domain_number")
        .select(UNIQUE_DOMAINS.columns.keys())
        .collect(engine="in-memory")
    )


def _domains(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Counts of each domain and its best row."""
    return (
        sort_best_first(rows, "domain_number")
        .group_by("domain_number", maintain_order=True)
        .agg(
            pl.col("domain_hash").first(),
            normalized_domain(pl.col("domain").first()),
            pl.len().cast(pl.Int64).alias("result_count"),
            pl.col("batch_id").n_unique().cast(pl.Int64).alias("batch_count"),
            (pl.col("status") == SUCCESS).sum().cast(pl.Int64).alias("success_count"),
            (pl.col("status") == "failed").sum().cast(pl.Int64).alias("failed_count"),
            pl.col("domain_id").first().alias("best_domain_id"),
            pl.col("batch_id").first().alias("best_batch_id"),
            pl.col(BEST_ROW).first(),
            pl.col("created_at").min().alias("first_created_at"),
            pl.col("processed_at").max().alias("last_processed_at"),
        )
    )


def _leis(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The LEIs of each domain, joined by lowest rank, NULL last, then more rows, then code."""
    shown = [column for column in JOINED.values() if column != "lei_code"]
    best_first = number_and_rank(pl.col("domain_number"), pl.col("best_rank"))
    leis = (
        sort_latest_last(rows)
        .group_by("domain_number", "lei_code")
        .agg(pl.col("rank_position").min().alias("best_rank"), pl.len().alias("row_count"), pl.col(shown).last())
        .sort(best_first, -pl.col("row_count").cast(pl.Int64), "lei_code")
    )
    return join_candidates(leis, "domain_number", pl.len().cast(pl.Int64).alias("distinct_lei_count"))
