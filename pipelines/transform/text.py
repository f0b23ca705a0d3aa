"""Rules for single values: the normalized domain, its hash, what is blank, a valid LEI (DESIGN 4)."""

import hashlib

import polars as pl

from pipelines.contracts.vocabularies import WHITE_SPACE

LEI_PATTERN = "^[A-Z0-9]{18}[0-9]{2}$"
_LEI_LENGTH = 20
_LEI_MODULUS = 97
_SOME_LEI = "0" * _LEI_LENGTH
# A character is at most two digits: 96 and three of them stay below 2^31.
_STEPS_PER_REMAINDER = 3


def normalized_domain(domain: pl.Expr) -> pl.Expr:
    """Normalized domain: JavaScript's trim, then full Unicode lower case. String to String; NULL stays NULL."""
    return domain.str.strip_chars(WHITE_SPACE).str.to_lowercase()


def is_blank(text: pl.Expr) -> pl.Expr:
    """Whether nothing is left of a text after JavaScript's trim. String to Boolean; NULL stays NULL."""
    return text.str.strip_chars(WHITE_SPACE) == ""


def md5_hex(text: pl.Expr) -> pl.Expr:
    """md5 of a text in UTF-8, lower-case hex. String to String; NULL stays NULL. Polars has no md5: hashlib."""
    return text.map_batches(_md5_series, return_dtype=pl.String)


def is_valid_lei(code: pl.Expr) -> pl.Expr:
    """Whether a code has the LEI format and right check digits (ISO 17442-1, ISO 7064 MOD 97-10). String to Boolean.

    Worked out a character position at a time over the whole column: 23 ms for 236,000 codes. As one nested expression
    the bytes were taken apart again for each position: 430 ms.
    """
    return code.map_batches(_valid_lei_series, return_dtype=pl.Boolean)


def _valid_lei_series(codes: pl.Series) -> pl.Series:
    code = pl.col("code")
    fits = code.str.contains(LEI_PATTERN)
    characters = pl.when(fits).then(code).otherwise(pl.lit(_SOME_LEI)).cast(pl.Binary)
    columns = (
        codes.alias("code")
        .to_frame()
        .lazy()
        .select(
            fits.alias("fits"),
            characters.bin.reinterpret(dtype=pl.Array(pl.UInt8, _LEI_LENGTH), endianness="little").alias("bytes"),
        )
        .with_columns(pl.col("bytes").arr.get(position).alias(str(position)) for position in range(_LEI_LENGTH))
    )
    remainder = pl.lit(0, dtype=pl.Int32)
    for position in range(_LEI_LENGTH):
        byte = pl.col(str(position))
        is_letter = byte // 64  # 1 for A to Z, 0 for 0 to 9, in ASCII
        value = byte - ord("0") - is_letter * (ord("A") - ord("9") - 1)
        remainder = remainder * (is_letter.cast(pl.Int32) * 90 + 10) + value.cast(pl.Int32)
        if position % _STEPS_PER_REMAINDER == _STEPS_PER_REMAINDER - 1:
            remainder %= _LEI_MODULUS
    return columns.select((pl.col("fits") & (remainder % _LEI_MODULUS == 1)).alias(codes.name)).collect().to_series()


def _md5_series(series: pl.Series) -> pl.Series:
    md5 = hashlib.md5
    hashes = [
        None if text is None else md5(text.encode(), usedforsecurity=False).hexdigest() for text in series.to_list()
    ]
    return pl.Series(series.name, hashes, dtype=pl.String)
