"""Values as text: the macros of a session, the expression of a column per format, and reals as PostgreSQL has them.

Whole rows are put together by DuckDB: 100,000 domains with their candidates in seconds, without a Python object a cell.
"""

import re

import numpy as np

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
# Reals of this range are printed without `e`; the first one is the real nearest to it.
_FIXED = float(np.float32(0.0001)), 1_000_000.0


def json_escaped(text: str) -> str:
    """A text, or a piece of it, as DuckDB's to_json writes it between the quotes."""
    return _ESCAPED.sub(lambda found: _ESCAPES[found[0]], text)


def cell_text(name: str, kind: str) -> str:
    """The expression of a column's value as text: what stands in a CSV cell before it is quoted; NULL stays NULL.

    Args:
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
        raw: Leave texts alone that a spreadsheet would run as a formula.
    """
    text = cell_text(name, kind)
    if kind != "VARCHAR":
        return f"plain_cell({text})"
    return f"quoted_cell({text if raw else f'harmless({text})'})"


def json_value(name: str, kind: str) -> str:
    """The expression of a JSON value: numbers as PostgreSQL prints them, times as text, NULL as null."""
    text = cell_text(name, kind)
    if kind == "TIMESTAMP":
        text = f"""'"' || {text} || '"'"""
    elif kind == "VARCHAR" or kind.endswith("[]"):
        text = f"to_json({quoted(name)})::VARCHAR"
    return f"coalesce({text}, 'null')"


def real_text(value: float) -> str:
    """Text of a finite real as PostgreSQL prints it (float4out): the fewest digits that give the same real back.

    Returns:
        Such as `85.3` or `1e+06`: the shortest text that lies strictly between the middles to its neighbours, nearest
        to the value. About 1 microsecond.
    """
    real = np.float32(value)
    if value and not _FIXED[0] <= abs(value) < _FIXED[1]:
        text = np.format_float_scientific(real, trim="-", exp_digits=2)
        # NumPy takes a middle too, where rounding gives the real back: 212187008 is 2.12187e+08 there. Only whole
        # numbers of 2^24 and more have a middle of so few digits.
        for digits in range(sum(map(str.isdigit, text.partition("e")[0])), _MAX_DIGITS):
            other = 2 * float(text) - value
            if other == value or float(np.float32(other)) != other:
                break
            text = np.format_float_scientific(real, precision=digits, unique=False, trim="-", exp_digits=2)
        return text
    return np.format_float_positional(real, trim="-")
