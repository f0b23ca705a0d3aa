"""The rule of batch_summaries (DESIGN 4.5), in parts that can be counted range by range and then added up.

A distinct count adds up over ranges where each value lies in one of them: domains are counted by ranges of domain
hashes, LEIs by ranges of LEIs. Averages and medians do not add up: they take all rows at once, of three columns.
"""

import polars as pl

from pipelines.contracts.source import KNOWN_STATUSES
from pipelines.contracts.tables import BATCH_SUMMARIES
from pipelines.transform.text import is_blank

_P95 = 0.95
# What is read of the two tables.
RESULT_COLUMNS = (
    "batch_id",
    "domain_hash",
    "status",
    "gleif_candidate_count",
    "primary_lei_code",
    "manual_review_required",
    "created_at",
    "processed_at",
)
CANDIDATE_COLUMNS = ("batch_id", "lei_code")
MEASURE_COLUMNS = ("batch_id", "confidence_score", "processing_time_ms")

_FIRST, _LAST = "first_created_at", "last_processed_at"


def count_batch_results(domain_exports: pl.DataFrame) -> pl.DataFrame:
    """Count the rows of each batch.

    Args:
        domain_exports: All rows of a set of domain hashes; of its columns RESULT_COLUMNS.

    Returns:
        batch_id (String), counts (Int64), first_created_at, last_processed_at (Datetime). Counts add up over sets
        without a common domain hash.
    """
    status = pl.col("status")
    counts = {
        "result_count": pl.len(),
        "unique_domain_count": pl.col("domain_hash").n_unique(),
        **{f"{known}_count": (status == known).sum() for known in KNOWN_STATUSES},
        "other_count": (~status.is_in(KNOWN_STATUSES)).sum(),
        "with_candidates_count": (pl.col("gleif_candidate_count") > 0).sum(),
        "with_primary_count": (~is_blank(pl.col("primary_lei_code"))).sum(),
        "manual_review_count": pl.col("manual_review_required").sum(),
    }
    return domain_exports.group_by("batch_id").agg(
        *(count.cast(pl.Int64).alias(name) for name, count in counts.items()),
        pl.col("created_at").min().alias(_FIRST),
        pl.col("processed_at").max().alias(_LAST),
    )


def count_batch_candidates(candidate_exports: pl.DataFrame) -> pl.DataFrame:
    """Count the candidates of each batch.

    Args:
        candidate_exports: All rows of a set of LEIs; of its columns CANDIDATE_COLUMNS.

    Returns:
        batch_id (String), candidate_count, distinct_lei_count (Int64). They add up over sets without a common LEI.
    """
    return candidate_exports.group_by("batch_id").agg(
        pl.len().cast(pl.Int64).alias("candidate_count"),
        pl.col("lei_code").n_unique().cast(pl.Int64).alias("distinct_lei_count"),
    )


def measure_batches(domain_exports: pl.DataFrame) -> pl.DataFrame:
    """Averages, median and percentile of each batch, by linear interpolation, NULL left out.

    Args:
        domain_exports: All rows; of its columns MEASURE_COLUMNS. batch_id may be Categorical, which takes less memory.

    Returns:
        batch_id (String) and the four figures (Float64), NULL where a batch has no value.
    """
    score = pl.col("confidence_score").cast(pl.Float64)
    duration = pl.col("processing_time_ms").cast(pl.Float64)
    return (
        domain_exports.group_by("batch_id")
        .agg(
            score.mean().alias("confidence_score_avg"),
            score.median().alias("confidence_score_median"),
            duration.mean().alias("processing_time_ms_avg"),
            duration.quantile(_P95, interpolation="linear").alias("processing_time_ms_p95"),
        )
        .with_columns(pl.col("batch_id").cast(pl.String))
    )


def build_batch_summaries(results: pl.DataFrame, candidates: pl.DataFrame, measures: pl.DataFrame) -> pl.DataFrame:
    """One row per batch.

    Args:
        results: What `count_batch_results` found, of every range.
        candidates: What `count_batch_candidates` found, of every range.
        measures: What `measure_batches` found.

    Returns:
        Columns of the contract, sorted by batch_id.
    """
    counted = results.group_by("batch_id").agg(
        pl.exclude(_FIRST, _LAST).sum(), pl.col(_FIRST).min(), pl.col(_LAST).max()
    )
    of_candidates = candidates.group_by("batch_id").agg(pl.all().sum())
    return (
        counted.join(of_candidates, on="batch_id", how="left")
        .join(measures, on="batch_id", how="left")
        .with_columns(
            pl.col("candidate_count", "distinct_lei_count").fill_null(0),
            _percent("success_count").alias("success_pct"),
            _percent("with_candidates_count").alias("with_candidates_pct"),
        )
        .sort("batch_id")
        .select(BATCH_SUMMARIES.columns.keys())
    )


def _percent(count: str) -> pl.Expr:
    return pl.col(count).cast(pl.Float64) * 100 / pl.col("result_count").cast(pl.Float64)
