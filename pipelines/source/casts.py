"""Which PostgreSQL types a known column may have, and the SQL that brings each to the contract's type (DESIGN 4.7)."""

from dataclasses import dataclass

import polars as pl
from psycopg import sql

# A real keeps 24 bits of a whole number: beyond that the cast would change the value.
LARGEST_EXACT_IN_REAL = 2**24

_TEXT = "{}::text"
_CASTS: dict[pl.DataType, dict[str, str]] = {
    # Ids; the staged rows of a narrower column are the same as those of a wide one.
    pl.Int64(): {"int8": "{}", "int4": "{}::int8", "int2": "{}::int8"},
    pl.Int32(): {"int4": "{}", "int2": "{}::int4"},
    # Whole numbers stay whole until they are checked: see LARGEST_EXACT_IN_REAL.
    pl.Float32(): {"float4": "{}", "int2": "{}::int4", "int4": "{}"},
    pl.String(): {
        "text": "{}",
        "varchar": _TEXT,
        "bpchar": _TEXT,
        "uuid": _TEXT,
        "json": _TEXT,
        "jsonb": _TEXT,
        "enum": _TEXT,
    },
    pl.Boolean(): {"bool": "{}"},
    pl.Datetime("us"): {"timestamp": "{}", "timestamptz": "({} AT TIME ZONE 'UTC')"},
}


@dataclass(frozen=True)
class ReadColumn:
    """A column as it is read.

    Attributes:
        name: Its name.
        value: SQL of its value, as the contract wants it.
        hashed: SQL of the value that fingerprints hash: equal where, and only where, equal values are read.
    """

    name: str
    value: sql.Composed
    hashed: sql.Composed

    @property
    def expression(self) -> sql.Composed:
        """SQL of its value, with its name."""
        return sql.SQL("{} AS {}").format(self.value, sql.Identifier(self.name))


def accepted_types(dtype: pl.DataType) -> tuple[str, ...]:
    """PostgreSQL types (names as in pg_type, `enum` for any enum) that a column of this dtype may have."""
    return tuple(_CASTS[dtype])


def cast_expression(name: str, dtype: pl.DataType, type_name: str) -> ReadColumn | None:
    """SQL that reads a column as the contract wants it; None where the type can't be cast."""
    template = _CASTS[dtype].get(type_name)
    if template is None:
        return None
    value = sql.SQL(template).format(sql.Identifier(name))
    if dtype == pl.String():
        # A nondeterministic collation hashes equal what it calls equal, such as `a` and `A`.
        return ReadColumn(name, value, sql.SQL('({}) COLLATE "C"').format(value))
    if type_name == "float4":
        # PostgreSQL hashes 0 and -0 alike.
        return ReadColumn(name, value, sql.SQL("float4send({})").format(value))
    return ReadColumn(name, value, value)
