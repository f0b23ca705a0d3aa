"""Values as text: the macros of a session, the expression of a column per format, and reals as PostgreSQL has them.

Whole rows are put together by DuckDB: 100,000 domains with their candidates in seconds, without a Python object a cell.
"""

import math
import re
import struct
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from functools import lru_cache

from pipelines.snapshots.duckdb_connections import quoted, quoted_text

# Registered with the session as a function: real_text below.
RARE_REAL = "rare_real_text"

# What a spreadsheet takes for the start of a formula (OWASP, CSV injection): = + - @ and their full-width and small
# forms, also behind white space and invisible characters, which some programs drop; and tab and line ends.
_FORMULA = (
    r"^(?:[\t\r\n]|[\s\p{Z}\p{C}]*[=+@\-"
    r"\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}\x{FE66}\x{FE62}\x{FE63}\x{FE6B}])"
)

# As DuckDB's to_json writes texts.
_ESCAPES = {chr(code): f"\\u{code:04X}" for code in range(0x20)}
_ESCAPES |= {character: f"\\{letter}" for character, letter in zip('\\"\b\f\n\r\t', '\\"bfnrt', strict=True)}
_ESCAPED = re.compile(r'[\x00-\x1f"\\]')

MACROS = (
    # DuckDB prints the reals of this range as PostgreSQL does, but for a `.0`; only among those of nine digits are some
    # of which it prints one digit too many (0.271484375 for 0.27148438).
    f"""CREATE MACRO real_text(x) AS CASE
        WHEN x = 0 OR (abs(x) >= 0.001::FLOAT AND abs(x) < 1000000::FLOAT AND length(abs(x)::VARCHAR) < 10)
        THEN CASE WHEN x = trunc(x) THEN left(x::VARCHAR, -2) ELSE x::VARCHAR END
        WHEN x IS NOT NULL THEN {RARE_REAL}(x) END""",
    # Years beyond four digits get a sign and six digits (ISO 8601 expanded), as JavaScript's toISOString writes them.
    """CREATE MACRO time_text(x) AS CASE
        WHEN year(x) BETWEEN 0 AND 9999 THEN strftime(x, '%Y-%m-%dT%H:%M:%S.%gZ')
        WHEN x IS NOT NULL THEN CASE WHEN year(x) < 0 THEN '-' ELSE '+' END || lpad(abs(year(x))::VARCHAR, 6, '0')
            || strftime(x, '-%m-%dT%H:%M:%S.%gZ') END""",
    f"""CREATE MACRO is_formula(x) AS regexp_matches(x, {quoted_text(_FORMULA)})""",
    """CREATE MACRO harmless(x) AS CASE WHEN is_formula(x) THEN '''' || x ELSE x END""",
    """CREATE MACRO quoted_cell(x) AS '"' || replace(coalesce(x, ''), '"', '""') || '"'""",
    """CREATE MACRO plain_cell(x) AS '"' || coalesce(x, '') || '"'""",
)
# Nine digits always tell one real from the next.
_MAX_DIGITS = 9
# Decimal exponents that PostgreSQL prints without `e`.
_FIXED = range(-4, 6)
# Of these `%g` prints six digits or more without `e`.
_USUAL = 0.001, 1_000_000.0


def json_escaped(text: str) -> str:
    """A text, or a piece of it, as DuckDB's to_json writes it between the quotes."""
    return _ESCAPED.sub(lambda found: _ESCAPES[found[0]], text)


def cell_text(name: str, kind: str) -> str:
    """The expression of a column's value as text: what stands in a CSV cell before it is quoted; NULL stays NULL.

    Args:
        name: The column.
        kind: Its DuckDB type.
    """
    column = quoted(name)
    if kind == "VARCHAR":
        return column
    if kind == "FLOAT":
        return f"real_text({column})"
    if kind == "TIMESTAMP":
        return f"time_text({column})"
    return f"{column}::VARCHAR"


def csv_cell(name: str, kind: str, *, raw: bool) -> str:
    """The expression of a quoted CSV cell; NULL and `''` are both `""`.

    Args:
        name: The column.
        kind: Its DuckDB type.
        raw: Leave texts alone that a spreadsheet would run as a formula.
    """
    text = cell_text(name, kind)
    if kind != "VARCHAR":
        return f"plain_cell({text})"
    return f"quoted_cell({text if raw else f'harmless({text})'})"


def json_value(name: str, kind: str) -> str:
    """The expression of a JSON value: numbers as PostgreSQL prints them, times as text, NULL as null.

    Args:
        name: The column.
        kind: Its DuckDB type.
    """
    text = cell_text(name, kind)
    if kind == "TIMESTAMP":
        text = f"""'"' || {text} || '"'"""
    elif kind == "VARCHAR" or kind.endswith("[]"):
        text = f"to_json({quoted(name)})::VARCHAR"
    return f"coalesce({text}, 'null')"


def real_text(value: float) -> str:
    """Text of a finite real as PostgreSQL prints it.

    Args:
        value: The real, widened.

    Returns:
        The shortest text that lies strictly between the middles to its neighbours, nearest to the value.
    """
    if _USUAL[0] <= abs(value) < _USUAL[1] and (text := _usual_text(value)) is not None:
        return text
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    if value == 0:
        return f"{sign}0"
    digits, exponent = _shortest(abs(value))
    if exponent not in _FIXED:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    whole = digits[: exponent + 1].ljust(exponent + 1, "0")
    fraction = digits[exponent + 1 :]
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def _usual_text(value: float) -> str | None:
    """The text, where the nearest one of some digits can be told to be the shortest; 2.5 instead of 21 microseconds.

    Of six digits or less, no two texts give the same real. Of more, the nearest one is within the middles if any is,
    but for powers of two, where one middle is closer. No text of nine digits is a middle itself: that has eleven.
    """
    for digits in range(6, _MAX_DIGITS + 1):
        text = f"{value:.{digits}g}"
        near = float(text)
        if _real(near) == value:
            other = 2 * near - value
            is_middle = other != value and _real(other) == other  # of the double, which may have been rounded to it
            is_sure = digits == 6 or not (is_middle or abs(math.frexp(value)[0]) == 0.5)  # noqa: PLR2004
            return text if is_sure else None
    return None


def _real(value: float) -> float:
    """The real nearest to a double."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


@lru_cache(maxsize=1 << 16)
def _shortest(value: float) -> tuple[str, int]:
    low, high = _middles(value)
    exact = Decimal(value)
    for digits in range(1, _MAX_DIGITS + 1):
        fitting = [
            near
            for rounding in (ROUND_FLOOR, ROUND_CEILING)
            if low < (near := Context(prec=digits, rounding=rounding).plus(exact)) < high
        ]
        if fitting:
            nearest = min(fitting, key=lambda near: (abs(near - exact), near.as_tuple().digits[-1] % 2))
            return "".join(map(str, nearest.as_tuple().digits)).rstrip("0"), nearest.adjusted()
    raise ValueError(value)


def _middles(value: float) -> tuple[Decimal, Decimal]:
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    below = struct.unpack("<f", struct.pack("<I", bits - 1))[0]
    above = struct.unpack("<f", struct.pack("<I", bits + 1))[0]
    above = above if math.isfinite(above) else value + (value - below)
    # Exact: the sum of two neighbouring reals fits in a double.
    return Decimal((below + value) / 2), Decimal((value + above) / 2)
