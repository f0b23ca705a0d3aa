"""Whether the joined texts of domain_exports are those of candidate_exports, computed again in another way.

It is a second formulation of DESIGN 4.1, which shares no code with the first (transform/joining.py).
"""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TEXTS = {
    "all_lei_codes": "lei_code",
    "all_legal_names": "legal_name",
    "all_jurisdictions": "jurisdiction",
    "all_entity_statuses": "entity_status",
}
_BETWEEN = "; "


def find_other_joins(domain_exports: pl.DataFrame, candidates: pl.DataFrame) -> pl.Series:
    """Rows whose count, texts or codes are not those of their candidates.

    Arrow joins the values once more, by the counts of the rows; only where anything differs the rows are looked for.

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
    counts = domain_exports["gleif_candidate_count"]
    if counts.null_count() or counts.sum() != candidates.height:
        return False
    owners = np.repeat(domain_exports["domain_id"].to_numpy(), counts.to_numpy())
    if not np.array_equal(owners, candidates["domain_id"].to_numpy()):
        return False
    ends = np.concatenate(([0], np.cumsum(counts.to_numpy(), dtype=np.int64)))
    codes = domain_exports["lei_codes"]
    return (
        codes.list.len().equals(counts)
        and codes.explode(empty_as_null=False).equals(candidates["lei_code"])
        and all(
            _joined(candidates[value], ends).equals(domain_exports[text].rename("")) for text, value in _TEXTS.items()
        )
    )


def _joined(values: pl.Series, ends: "NDArray[np.int64]") -> pl.Series:
    lists = pa.LargeListArray.from_arrays(ends, values.fill_null("").to_arrow())
    return pl.Series("", pc.binary_join(lists, pa.scalar(_BETWEEN, pa.large_string())), dtype=pl.String)
