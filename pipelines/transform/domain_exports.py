"""The rule of domain_exports (DESIGN 4.1)."""

import polars as pl

from pipelines.contracts.tables import DOMAIN_EXPORTS

SEPARATOR = "; "
_JOINED = {
    "all_lei_codes": "lei_code",
    "all_legal_names": "legal_name",
    "all_jurisdictions": "jurisdiction",
    "all_entity_statuses": "entity_status",
}


def build_domain_exports(judged_domains: pl.LazyFrame, candidate_exports: pl.LazyFrame) -> pl.LazyFrame:
    """One row per row of `domains` that is not rejected, with its candidates joined.

    Args:
        judged_domains: From `judge_domains`, sorted by id.
        candidate_exports: candidate_exports of the same domain ids, in its order.

    Returns:
        Columns of the contract, sorted by domain_id. A NULL jurisdiction or status is an empty slot in its text, so
        that the four texts stay aligned; no candidates is `""` and `[]`.
    """
    lists = candidate_exports.group_by("domain_id", maintain_order=True).agg(
        pl.len().cast(pl.UInt32).alias("gleif_candidate_count"),
        *(pl.col(source).fill_null("").alias(text) for text, source in _JOINED.items()),
        pl.col("lei_code").alias("lei_codes"),
    )
    joined = lists.with_columns(pl.col(text).list.join(SEPARATOR) for text in _JOINED)
    return (
        judged_domains.filter(pl.col("reason").is_null())
        .with_columns(pl.col("id").alias("domain_id"), pl.col("computed_hash").alias("domain_hash"))
        .join(joined, on="domain_id", how="left", maintain_order="left")
        .with_columns(
            pl.col("gleif_candidate_count").fill_null(0),
            *(pl.col(text).fill_null("") for text in _JOINED),
            pl.col("lei_codes").fill_null(pl.lit([], dtype=pl.List(pl.String))),
        )
        .select(DOMAIN_EXPORTS.columns.keys())
    )
