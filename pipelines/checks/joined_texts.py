"""Whether the joined texts of domain_exports are those of candidate_exports, computed again in another way.

Belongs here: a second formulation of DESIGN 4.1, which shares no code with the first (transform/joining.py).
"""

import polars as pl

_TEXTS = {
    "all_lei_codes": "lei_code",
    "all_legal_names": "legal_name",
    "all_jurisdictions": "jurisdiction",
    "all_entity_statuses": "entity_status",
}
_BETWEEN = "; "


def find_other_joins(domain_exports: pl.DataFrame, candidates: pl.DataFrame) -> pl.Series:
    """Rows whose count, texts or codes are not those of their candidates.

    All texts of a column, written one after the other, are one text, and so are all values of the candidates with what
    stands between them. Where these two are equal and each row has the right number of bytes, all rows are equal: that
    takes a fraction of joining per row, which is done only to name the rows that differ.

    Args:
        domain_exports: domain_id, gleif_candidate_count, the four texts and lei_codes, sorted by domain_id.
        candidates: domain_id and the four values of all candidates of these rows, sorted by domain_id, then rank order.

    Returns:
        domain_id of the rows that differ.
    """
    if domain_exports.is_empty() or _is_same(domain_exports, candidates):
        return domain_exports["domain_id"].clear()
    joined = candidates.group_by("domain_id").agg(
        pl.len().alias("count"),
        *(pl.col(value).fill_null("").str.join(_BETWEEN).alias(f"{text}_again") for text, value in _TEXTS.items()),
        pl.col("lei_code").alias("lei_codes_again"),
    )
    empty = pl.lit([], dtype=pl.List(pl.String))
    differs = [pl.col(text).ne_missing(pl.col(f"{text}_again").fill_null("")) for text in _TEXTS]
    return domain_exports.join(joined, on="domain_id", how="left", maintain_order="left").filter(
        pl.any_horizontal(
            *differs,
            pl.col("gleif_candidate_count").ne_missing(pl.col("count").fill_null(0)),
            pl.col("lei_codes").ne_missing(pl.col("lei_codes_again").fill_null(empty)),
        )
    )["domain_id"]


def _is_same(domain_exports: pl.DataFrame, candidates: pl.DataFrame) -> bool:
    is_last = pl.col("domain_id").ne_missing(pl.col("domain_id").shift(-1))
    between = pl.when(is_last).then(pl.lit("")).otherwise(pl.lit(_BETWEEN))
    values = candidates.select("domain_id", pl.col(_TEXTS.values()).fill_null(""), between.alias("between"))
    sizes = values.group_by("domain_id").agg(
        pl.len().alias("count"),
        *(
            (pl.col(value).str.len_bytes().cast(pl.UInt64) + pl.col("between").str.len_bytes()).sum().alias(value)
            for value in _TEXTS.values()
        ),
    )
    found = domain_exports.select(
        "domain_id",
        pl.col("gleif_candidate_count").alias("count"),
        *(pl.col(text).str.len_bytes().alias(value) for text, value in _TEXTS.items()),
    )
    wanted = found.select("domain_id").join(sizes, on="domain_id", how="left", maintain_order="left").fill_null(0)
    numbers = pl.exclude("domain_id").cast(pl.UInt64)
    return (
        wanted.select(numbers).equals(found.select(numbers))
        and domain_exports["lei_codes"].list.len().equals(domain_exports["gleif_candidate_count"])
        and domain_exports["lei_codes"].explode(empty_as_null=False).equals(candidates["lei_code"])
        and all(
            _whole(domain_exports, pl.col(text)).equals(_whole(values, pl.col(value) + pl.col("between")))
            for text, value in _TEXTS.items()
        )
    )


def _whole(frame: pl.DataFrame, text: pl.Expr) -> pl.Series:
    return frame.select(text.str.join("")).to_series()
