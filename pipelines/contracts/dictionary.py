"""The data dictionary, data/README.md, rendered from the contracts: `make dictionary` writes it, a test compares it."""

import sys
from collections.abc import Iterable, Sequence

import polars as pl

from pipelines.contracts.columns import sources_of, unit_of
from pipelines.contracts.exports import REJECT_REASONS
from pipelines.contracts.orders import RANK_ORDER_TEXT
from pipelines.contracts.source import FULL_DATA_COLUMN, KNOWN_STATUSES, SOURCE_TABLES, SourceTable
from pipelines.contracts.tables import DUCKDB_TYPES, Table, published_tables
from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.contracts.views import INFO_COLUMNS, INFO_DESCRIPTION, SNAPSHOT_INFO, VIEWS, View
from pipelines.contracts.vocabularies import JURISDICTION_PATTERN, KNOWN_VALUES

_INTRODUCTION = f"""\
<!-- Generated from pipelines/contracts by `make dictionary`: change the contract, not this file. -->

# Data dictionary

Contract version {CONTRACT_VERSION}. What lies in this folder, beside this file:

- `exports/`: what is published (`EXPORT_DIR`); made by the first run, not in git
- `postgres/`: the embedded PostgreSQL that holds the sample while `DATABASE_URL` is unset; not in git
- `dagster_home/`: Dagster's own records; not in git

How to query the tables: [docs/analysts.md](../docs/analysts.md). The built-in sample, CSV files of both source tables:
[pipelines/sample/data](../pipelines/sample/data/README.md). In DuckDB, `duckdb_tables()`, `duckdb_columns()` and
`duckdb_views()` show the same descriptions as comments.
"""
_RULES = f"""\
## Rules for all tables

- A table has one name: its DuckDB table (schema main), its folder of Parquet files and the last part of its asset key.
- Rows stand in sort order (ascending, NULL last, texts by their bytes) inside each Parquet file and over its files in
  name order. A DuckDB table has no order: use ORDER BY.
- Rank order is {RANK_ORDER_TEXT}.
- NULL is not `''`: both are kept as the source has them. NaN, infinities and infinite times are published as NULL.
- Times are UTC, without a zone. Percentages are 0 to 100.
- Normalized domain: white space around it removed as JavaScript's trim does, full Unicode lower case, no punycode.
"""
_SOURCE_TABLES = """\
## Source tables

What is read from PostgreSQL. A column that the source lacks is published as NULL, unless it is required; an
unknown column is left out and named in the run's metadata. Rows with NULL in a required column are rejected
(a NULL `id` stops the run).
"""
# Type in Parquet, in pyarrow, and types of the source that are read as it (DESIGN 4.7).
_OTHER_TYPES: dict[pl.DataType, tuple[str, str, str]] = {
    pl.Int64(): ("INT64", "int64", "int8, int4, int2"),
    pl.Int32(): ("INT32", "int32", "int4, int2"),
    pl.Float32(): ("FLOAT", "float", "float4 (real), int4 and int2 up to 2^24"),
    pl.Float64(): ("DOUBLE", "double", ""),
    pl.String(): ("BYTE_ARRAY, UTF-8", "large_string", "text, varchar, char, enum, uuid, json, jsonb"),
    pl.Boolean(): ("BOOLEAN", "bool", "bool"),
    pl.Datetime("us"): ("INT64, TIMESTAMP in µs, not adjusted to UTC", "timestamp[us]", "timestamp, timestamptz"),
    pl.List(pl.String()): ("LIST of UTF-8", "large_list<large_string>", ""),
}


def render_dictionary() -> str:
    """The whole text of data/README.md."""
    tables = published_tables(include_full_data=True)
    parts = [_INTRODUCTION, "## Published tables\n", _overview(tables), _RULES, "## Types\n", _types()]
    parts += ["## Columns of the tables\n", *(_table(table) for table in tables)]
    parts += [_reasons(), _info(), _views_overview(), *(_view(view) for view in VIEWS), _vocabularies()]
    parts += [_SOURCE_TABLES, *(_source(table) for table in SOURCE_TABLES)]
    return "\n".join(parts)


def _overview(tables: Iterable[Table]) -> str:
    rows = [
        (f"[{_code(table.name)}](#{table.name})", table.grain, _codes(table.key), _codes(table.sort_by), _files(table))
        for table in tables
    ]
    return _rows(("table", "grain", "key", "sorted by", "Parquet files"), rows)


def _files(table: Table) -> str:
    if table.is_segmented:
        return "one per segment"
    return "`all.parquet`" if table.range_key is None else f"one per range of {_code(table.range_key)}"


def _types() -> str:
    rows = [(_dtype(dtype), *_OTHER_TYPES[dtype][:2], duckdb) for dtype, duckdb in DUCKDB_TYPES.items()]
    return _rows(("Polars", "Parquet", "pyarrow", "DuckDB"), rows)


def _table(table: Table) -> str:
    rows = [
        (
            _key_mark(name, table.key),
            _dtype(column.dtype),
            table.duckdb_types[name],
            "yes" if column.nullable else "never",
            unit_of(column) or "",
            _codes(sources_of(column)),
            (column.description or "") + ("; only with INCLUDE_FULL_DATA=true" if name == FULL_DATA_COLUMN else ""),
        )
        for name, column in table.columns.items()
    ]
    heading = ("column", "Parquet, Polars", "DuckDB", "NULL", "unit", "from", "description")
    return f"### {table.name}\n\n{_keyed(table.grain, table.key)} Sorted by {_codes(table.sort_by)}.\n\n" + _rows(
        heading, rows
    )


def _reasons() -> str:
    rows = [(_code(name), meaning) for name, meaning in REJECT_REASONS.items()]
    return (
        "## Reasons of rejected_rows\n\n"
        "For both source tables: rows in PostgreSQL = rows exported + rows rejected. Where several reasons fit, the\n"
        "first in this list. Blank: nothing is left after JavaScript's trim.\n\n" + _rows(("reason", "meaning"), rows)
    )


def _info() -> str:
    rows = [(_code(name), column.kind, column.description) for name, column in INFO_COLUMNS.items()]
    return f"## {SNAPSHOT_INFO}\n\nIn `exports.duckdb` only. {INFO_DESCRIPTION}\n\n" + _rows(
        ("column", "DuckDB", "description"), rows
    )


def _views_overview() -> str:
    rows = [(f"[{_code(view.name)}](#{view.name})", view.grain, _codes(view.reads)) for view in VIEWS]
    return "## Views\n\nIn `exports.duckdb` only.\n\n" + _rows(("view", "grain", "reads"), rows)


def _view(view: View) -> str:
    rows = [(_key_mark(name, view.key), c.kind, c.description) for name, c in view.columns.items()]
    table = _rows(("column", "DuckDB", "description"), rows)
    return f"### {view.name}\n\n{_keyed(view.grain, view.key)}\n\n{table}\n```sql\n{view.query}\n```\n"


def _vocabularies() -> str:
    known = {"status": KNOWN_STATUSES, **KNOWN_VALUES}
    rows = [(_code(column), _codes(values)) for column, values in known.items()]
    rows.append(("`jurisdiction`", f"ISO 3166-1 alpha-2 or ISO 3166-2: {_code(JURISDICTION_PATTERN)}"))
    return "## Known values\n\nVocabularies change: another value is published, and a check warns.\n\n" + _rows(
        ("column", "values"), rows
    )


def _source(table: SourceTable) -> str:
    rows = [
        (
            _key_mark(name, tuple(table.schema.primary_key())),
            _OTHER_TYPES[column.dtype][2],
            _dtype(column.dtype),
            "" if column.nullable else "required",
            unit_of(column) or "",
            column.description or "",
        )
        for name, column in table.schema.columns().items()
    ]
    heading = ("column", "PostgreSQL", "read as", "", "unit", "description")
    return f"### {table.name}\n\n{(table.schema.__doc__ or '').strip()}\n\n" + _rows(heading, rows)


def _keyed(grain: str, key: Sequence[str]) -> str:
    return f"{grain} Key: {_codes(key)}."


def _key_mark(name: str, key: Sequence[str]) -> str:
    return f"**{_code(name)}**" if name in key else _code(name)


def _dtype(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.List):
        return f"List({dtype.inner})"
    return "Datetime(us)" if isinstance(dtype, pl.Datetime) else str(dtype)


def _code(text: str) -> str:
    return f"`{text}`"


def _codes(texts: Iterable[str]) -> str:
    return ", ".join(_code(text) for text in texts)


def _rows(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(render_dictionary())
