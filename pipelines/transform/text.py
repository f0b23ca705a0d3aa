"""Rules for single values: the normalized domain, its hash, what is blank, a valid LEI (DESIGN 4).

Belongs here: expressions on one column. Does not: anything that looks at several rows.
"""

import hashlib

import polars as pl

# JavaScript's trim set, the application's rule (DESIGN 4); U+0085 is not in it.
WHITE_SPACE = (
    "\u0009\u000a\u000b\u000c\u000d\u0020\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)

LEI_PATTERN = "^[A-Z0-9]{18}[0-9]{2}$"
_LEI_LENGTH = 20
_LEI_MODULUS = 97
_SOME_LEI = "0" * _LEI_LENGTH
_ORD_ZERO, _ORD_A = ord("0"), ord("A")
# Before 15 digits more could overflow Int64, so the remainder is taken every 6 characters (at most 2 digits each).
_STEPS_PER_REMAINDER = 6


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

    In Polars throughout: 30 ms for 471,000 codes, of which python-stdnum, per value, takes seconds (FACTS).
    """
    fits = code.str.contains(LEI_PATTERN)
    characters = (
        pl.when(fits)
        .then(code)
        .otherwise(pl.lit(_SOME_LEI))
        .cast(pl.Binary)
        .bin.reinterpret(dtype=pl.Array(pl.UInt8, _LEI_LENGTH), endianness="little")
    )
    remainder = pl.lit(0, dtype=pl.Int64)
    for position in range(_LEI_LENGTH):
        byte = characters.arr.get(position).cast(pl.Int64)
        is_digit = byte < _ORD_A
        value = byte - pl.when(is_digit).then(_ORD_ZERO).otherwise(_ORD_A - 10)
        remainder = remainder * pl.when(is_digit).then(10).otherwise(100) + value
        if position % _STEPS_PER_REMAINDER == _STEPS_PER_REMAINDER - 1:
            remainder %= _LEI_MODULUS
    return fits & (remainder % _LEI_MODULUS == 1)


def _md5_series(series: pl.Series) -> pl.Series:
    md5 = hashlib.md5
    hashes = [
        None if text is None else md5(text.encode(), usedforsecurity=False).hexdigest() for text in series.to_list()
    ]
    return pl.Series(series.name, hashes, dtype=pl.String)
