"""The rule of unique_domains (DESIGN 4.3)."""

import polars as pl

from pipelines.contracts.tables import UNIQUE_DOMAINS
from pipelines.transform.joining import JOINED, fill_without_candidates, join_candidates
from pipelines.transform.text import normalized_domain

BEST_ROW = (
    "status",
    "company_name",
    "confidence_score",
    "guessed_country",
    "primary_lei_code",
    "primary_gleif_name",
    "final_legal_name",
    "final_confidence",
)
# Behind every int4; more than the values that a rank can have, so that ranks of two numbers never overlap.
_NULL_LAST = 2**31
_RANKS = 2**33
# What is read of the two tables.
DOMAIN_COLUMNS = ("domain_id", "domain_hash", "domain", "batch_id", "created_at", "processed_at", *BEST_ROW)
CANDIDATE_COLUMNS = (
    "domain_hash",
    "lei_code",
    "legal_name",
    "jurisdiction",
    "entity_status",
    "rank_position",
    "created_at",
    "candidate_id",
)


def build_unique_domains(domain_exports: pl.LazyFrame, candidate_exports: pl.LazyFrame) -> pl.LazyFrame:
    """One row per domain across all batches.

    Args:
        domain_exports: All rows of a set of domain hashes; of its columns DOMAIN_COLUMNS.
        candidate_exports: All rows of the same hashes; of its columns CANDIDATE_COLUMNS.

    Returns:
        Columns of the contract, sorted by domain_hash.
    """
    numbers = domain_exports.select("domain_hash").unique().sort("domain_hash").with_row_index("domain_number")
    domains = _domains(domain_exports.join(numbers, on="domain_hash"))
    leis = _leis(candidate_exports.join(numbers, on="domain_hash"))
    return (
        domains.join(leis, on="domain_number", how="left")
        .with_columns(pl.col("distinct_lei_count").fill_null(0), *fill_without_candidates())
        .sort("domain_number")
        .select(UNIQUE_DOMAINS.columns.keys())
    )


def _domains(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Counts of each domain and its best row: success first, then confidence, processed_at, domain_id, highest first.

    Confidence is compared as Float64, so that an Int32 keeps its value; `+ 0.0` makes -0 equal to 0.
    """
    is_success = pl.col("status") == "success"
    confidence = pl.coalesce(
        pl.col("final_confidence").cast(pl.Float64), pl.col("confidence_score").cast(pl.Float64) + 0.0
    )
    best_first = ("domain_number", is_success, confidence, "processed_at", "domain_id")
    return (
        rows.sort(best_first, descending=[False, True, True, True, True], nulls_last=True)
        .group_by("domain_number", maintain_order=True)
        .agg(
            pl.col("domain_hash").first(),
            normalized_domain(pl.col("domain").first()),
            pl.len().cast(pl.Int64).alias("result_count"),
            pl.col("batch_id").n_unique().cast(pl.Int64).alias("batch_count"),
            is_success.sum().cast(pl.Int64).alias("success_count"),
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
    # As one integer: a third less work than three keys. NULL is behind every int4.
    number_and_rank = pl.col("domain_number").cast(pl.Int64) * _RANKS + pl.col("best_rank").cast(pl.Int64).fill_null(
        _NULL_LAST
    )
    # The latest row of an LEI is its last one: NULL is oldest, ties go to the highest candidate_id.
    leis = (
        rows.sort("created_at", "candidate_id", nulls_last=False)
        .group_by("domain_number", "lei_code")
        .agg(pl.col("rank_position").min().alias("best_rank"), pl.len().alias("row_count"), pl.col(shown).last())
        .sort(number_and_rank, -pl.col("row_count").cast(pl.Int64), "lei_code")
    )
    return join_candidates(leis, "domain_number", pl.len().cast(pl.Int64).alias("distinct_lei_count"))
