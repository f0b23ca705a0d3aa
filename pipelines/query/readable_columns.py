"""Columns of any SQL as a frame that can be shown and written: what Polars can't hold or write is text of DuckDB."""

from collections.abc import Container
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import polars.selectors as cs

from pipelines.snapshots.duckdb_connections import quoted

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType

_TEXT = "VARCHAR"
_WHOLE = ("hugeint", "uhugeint")
_PLAIN = frozenset(
    "boolean tinyint smallint integer bigint utinyint usmallint uinteger ubigint float double decimal varchar".split()
)
_TIMES = frozenset({"date", "timestamp", "timestamp with time zone"})
# Polars writes years up to 262,142; DuckDB knows larger ones, and infinity.
_MAX_DAYS = 90_000_000
_DAY_US = 86_400_000_000


def readable_frame(relation: duckdb.DuckDBPyRelation) -> pl.DataFrame:
    """All rows of a relation; intervals, unions, bits and the like are text, bytes are in hex.

    Raises:
        duckdb.Error: DuckDB refuses it.
    """
    frame = _fetch(relation, _PLAIN | _TIMES)
    if any(map(_is_far, frame.select(cs.date(), cs.datetime()))):
        frame = _fetch(relation, _PLAIN)
    names = [name for name, kind in zip(frame.columns, relation.types, strict=True) if kind.id in _WHOLE]
    for name in names:
        numbers = frame[name].cast(pl.Int64, strict=False)
        if numbers.null_count() == frame[name].null_count():
            frame = frame.with_columns(numbers)
    return frame


def _fetch(relation: duckdb.DuckDBPyRelation, kept: Container[str]) -> pl.DataFrame:
    # By their numbers: two columns of a query may have one name.
    columns = [
        f"{_readable(f'#{number}', kind, kept)} AS {quoted(name)}"
        for number, (name, kind) in enumerate(zip(relation.columns, relation.types, strict=True), 1)
    ]
    return pl.DataFrame(relation.project(", ".join(columns)).to_arrow_table())


def _readable(column: str, kind: "DuckDBPyType", kept: Container[str]) -> str:
    if kind.id in kept:
        return column
    if kind.id == "blob":
        return f"lower(hex({column}))"
    return f"CAST({column} AS {_readable_type(kind)})"


def _readable_type(kind: "DuckDBPyType") -> str:
    """The type that a value is cast to; times in lists and structs are text too."""
    if kind.id in _PLAIN:
        return str(kind)
    if kind.id not in {"list", "array", "struct", "map"}:
        return _TEXT
    parts: dict[str, Any] = dict(kind.children)
    if kind.id == "map":  # a key of JSON is a text
        return f"MAP({_TEXT}, {_readable_type(parts['value'])})"
    if kind.id == "struct":
        if "" in parts:  # as of row(1, 2)
            return _TEXT
        return f"STRUCT({', '.join(f'{quoted(name)} {_readable_type(part)}' for name, part in parts.items())})"
    return f"{_readable_type(parts['child'])}[{parts.get('size', '')}]"


def _is_far(times: pl.Series) -> bool:
    limit = _MAX_DAYS * (1 if times.dtype == pl.Date else _DAY_US)
    return (times.to_physical().cast(pl.Int64).abs() > limit).any()
