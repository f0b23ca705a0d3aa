"""The rule of domain_exports (DESIGN 4.1)."""

import polars as pl

from pipelines.contracts.tables import DOMAIN_EXPORTS
from pipelines.transform.joining import fill_without_candidates, join_candidates
from pipelines.transform.validation import exported


def build_domain_exports(judged_domains: pl.DataFrame, candidate_exports: pl.DataFrame) -> pl.DataFrame:
    """One row per row of `domains` that is not rejected, with its candidates joined.

    Args:
        judged_domains: From `validate_domains`, sorted by id.
        candidate_exports: candidate_exports of the same domain ids, in its order.

    Returns:
        Columns of the contract, sorted by domain_id. A NULL jurisdiction or status is an empty slot in its text, so
        that the four texts stay aligned; no candidates is `""` and `[]`.
    """
    count = pl.len().cast(pl.Int64).alias("gleif_candidate_count")
    joined = join_candidates(candidate_exports.lazy(), "domain_id", count)
    return (
        exported(judged_domains)
        .lazy()
        .with_columns(pl.col("id").alias("domain_id"), pl.col("computed_hash").alias("domain_hash"))
        .join(joined, on="domain_id", how="left", maintain_order="left")
        .with_columns(pl.col("gleif_candidate_count").fill_null(0), *fill_without_candidates())
        .select(DOMAIN_EXPORTS.columns.keys())
        .collect()
    )
