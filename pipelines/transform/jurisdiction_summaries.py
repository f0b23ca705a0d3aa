"""The rule of jurisdiction_summaries (DESIGN 4.5), in parts that can be counted range by range and then added up."""

import polars as pl

from pipelines.contracts.tables import JURISDICTION_SUMMARIES

_UNKNOWN = "unknown"
# What is read of candidate_exports, by ranges of LEIs and by ranges of domain hashes.
LEI_COLUMNS = ("jurisdiction", "lei_code", "is_primary_selection", "entity_status")
DOMAIN_COLUMNS = ("jurisdiction", "domain_hash")


def jurisdiction_key() -> pl.Expr:
    """NULL counts under `unknown`, beside the text `unknown` itself; `''` stays `''`."""
    return pl.col("jurisdiction").fill_null(_UNKNOWN)


def count_jurisdiction_candidates(candidate_exports: pl.DataFrame) -> pl.DataFrame:
    """Count the candidates of each jurisdiction.

    Args:
        candidate_exports: All rows of a set of LEIs; of its columns LEI_COLUMNS.

    Returns:
        jurisdiction (String), candidate_count, distinct_lei_count, primary_count, active_count (Int64). They add up
        over sets without a common LEI.
    """
    counts = {
        "candidate_count": pl.len(),
        "distinct_lei_count": pl.col("lei_code").n_unique(),
        "primary_count": pl.col("is_primary_selection").sum(),
        "active_count": (pl.col("entity_status") == "ACTIVE").sum(),
    }
    return candidate_exports.group_by(jurisdiction_key()).agg(
        count.cast(pl.Int64).alias(name) for name, count in counts.items()
    )


def count_jurisdiction_domains(candidate_exports: pl.DataFrame) -> pl.DataFrame:
    """Count the domains of each jurisdiction.

    Args:
        candidate_exports: All rows of a set of domain hashes; of its columns DOMAIN_COLUMNS.

    Returns:
        jurisdiction (String), domain_count (Int64), which adds up over sets without a common domain hash.
    """
    return candidate_exports.group_by(jurisdiction_key()).agg(
        pl.col("domain_hash").n_unique().cast(pl.Int64).alias("domain_count")
    )


def build_jurisdiction_summaries(candidates: pl.DataFrame, domains: pl.DataFrame) -> pl.DataFrame:
    """One row per jurisdiction.

    Args:
        candidates: What `count_jurisdiction_candidates` found, of every range.
        domains: What `count_jurisdiction_domains` found, of every range.

    Returns:
        Columns of the contract, sorted by jurisdiction.
    """
    counted = candidates.group_by("jurisdiction").agg(pl.all().sum())
    return (
        counted.join(domains.group_by("jurisdiction").agg(pl.all().sum()), on="jurisdiction")
        .sort("jurisdiction")
        .select(JURISDICTION_SUMMARIES.columns.keys())
    )
