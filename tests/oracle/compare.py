"""Frames of the oracle and of both published formats, and their comparison cell by cell."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import duckdb
import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal
from psycopg.adapt import Loader
from psycopg.pq import Format

from tests.oracle import expected
from tests.oracle.query import oracle_sql

# Averages, medians, percentiles and pct: the order of summation may change the last bits. All else is exact.
FLOAT64_REL_TOL = 1e-12
_SHOWN_CELLS = 12
_FIRST_SERVER_VERSION = 180_000
_MICROSECONDS_1970_TO_2000 = 946_684_800_000_000
_INFINITIES = (-(2**63), 2**63 - 1)

_PG_TYPES: dict[pl.DataType, set[str]] = {
    pl.Int32(): {"int4"},
    pl.Int64(): {"int8"},
    pl.Float32(): {"float4"},
    pl.Float64(): {"float8"},
    pl.String(): {"text"},
    pl.Boolean(): {"bool"},
    pl.Datetime("us"): {"timestamp"},
    pl.List(pl.String()): {"text"},
}


class TableLike(Protocol):
    """What is needed of pipelines.contracts.tables.Table; `Expected` below is one made of the hand-written schemas."""

    @property
    def name(self) -> str: ...
    @property
    def polars_schema(self) -> pl.Schema: ...
    @property
    def sort_by(self) -> tuple[str, ...]: ...


class Expected:
    """A table of DESIGN 4 as restated by hand in expected.py."""

    def __init__(self, name: str, *, include_full_data: bool = False) -> None:
        self.name = name
        full = include_full_data and name == "candidate_exports"
        self.polars_schema = expected.CANDIDATE_EXPORTS_WITH_FULL_DATA if full else expected.SCHEMAS[name]
        self.sort_by = expected.SORT_BY[name]


class _TimestampMicroseconds(Loader):
    """Microseconds since 1970: Python's datetime can't hold years before 1 or after 9999."""

    format = Format.BINARY

    def load(self, data: Any) -> int:
        (value,) = struct.unpack("!q", bytes(data))
        if value in _INFINITIES:
            raise AssertionError("the oracle must publish an infinite timestamp as NULL")
        return int(value) + _MICROSECONDS_1970_TO_2000


def oracle_frame(
    conn: psycopg.Connection[Any], table: TableLike, schema: str = "public", *, include_full_data: bool = False
) -> pl.DataFrame:
    """What `table` must hold, by SQL in PostgreSQL, in its sort order and with exactly its dtypes.

    Args:
        conn: Connection to the source; only SELECT runs on it, in whatever transaction or snapshot it has.
        table: A pipelines.contracts.tables.Table, or an Expected.
        schema: PostgreSQL schema of the source tables.
        include_full_data: Also in the row_json of rejected_rows; candidate_exports says it by its columns.
    """
    if conn.info.server_version < _FIRST_SERVER_VERSION:
        pytest.skip(f"the oracle needs PostgreSQL 18 (collation pg_unicode_fast), this is {conn.info.server_version}")
    full = include_full_data or expected.FULL_DATA in table.polars_schema
    with conn.transaction(), conn.cursor(binary=True) as cursor:
        # Without statistics (a table just filled, a CTE) the planner is fond of nested loops, which take minutes here.
        cursor.execute("SET LOCAL enable_nestloop = off")
        cursor.adapters.register_loader("timestamp", _TimestampMicroseconds)
        cursor.execute(oracle_sql(conn, table.name, schema, include_full_data=full).encode())
        rows = cursor.fetchall()
        assert cursor.description is not None
        types = {column.name: _type_name(conn, column.type_code) for column in cursor.description}
    names = list(table.polars_schema)
    if list(types) != names:
        raise AssertionError(f"columns of {table.name}: by DESIGN 4 {list(types)}, by the contract {names}")
    for name, dtype in table.polars_schema.items():
        if types[name] not in _PG_TYPES[dtype]:
            raise AssertionError(f"{table.name}.{name}: the contract has {dtype}, PostgreSQL computes {types[name]}")
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return pl.DataFrame(
        [
            _series(name, dtype, values)
            for (name, dtype), values in zip(table.polars_schema.items(), columns, strict=True)
        ]
    )


def _type_name(conn: psycopg.Connection[Any], oid: int) -> str:
    info = conn.adapters.types.get(oid)
    return info.name if info else f"oid {oid}"


def _series(name: str, dtype: pl.DataType, values: Sequence[Any]) -> pl.Series:
    if dtype == pl.Datetime("us"):
        return pl.Series(name, values, pl.Int64).cast(dtype)
    return pl.Series(name, values, dtype, strict=True)


def read_parquet_face(snapshot_dir: Path, table_name: str) -> pl.DataFrame:
    """All rows of `<table>/*.parquet`, files in name order, rows in file order."""
    files = sorted((Path(snapshot_dir) / table_name).glob("*.parquet"), key=lambda path: path.name)
    if not files:
        raise AssertionError(f"no Parquet file of {table_name} in {snapshot_dir}")
    frames = [pl.read_parquet(file, glob=False, hive_partitioning=False) for file in files]
    for file, frame in zip(files, frames, strict=True):
        if frame.schema != frames[0].schema:
            raise AssertionError(f"{file.name} has another schema than {files[0].name}: {frame.schema}")
    return pl.concat(frames, how="vertical")


def read_duckdb_face(snapshot_dir: Path, table: TableLike) -> pl.DataFrame:
    """All rows of the table in exports.duckdb, in its sort order."""
    with _open_duckdb(snapshot_dir) as connection:
        return _read_table(connection, table, ordered=True)


def _open_duckdb(snapshot_dir: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(Path(snapshot_dir) / "exports.duckdb"), read_only=True)


def _read_table(connection: duckdb.DuckDBPyConnection, table: TableLike, *, ordered: bool) -> pl.DataFrame:
    order = ", ".join(f'"{name}" ASC NULLS LAST' for name in table.sort_by)
    query = f'SELECT * FROM main."{table.name}"' + (f" ORDER BY {order}" if ordered else "")
    frame = pl.from_arrow(connection.sql(query).to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


def assert_same(actual: pl.DataFrame, expected_frame: pl.DataFrame, *, what: str = "") -> None:
    """Assert that two frames have the same columns, dtypes, rows, order and cells; say which cells differ first.

    Float64 is compared with FLOAT64_REL_TOL; row_json as parsed JSON with the order of its keys, numbers of real
    columns as Float32, all others with their JSON type.
    """
    where = f"{what}: " if what else ""
    if actual.schema != expected_frame.schema:
        raise AssertionError(f"{where}{_schema_difference(actual.schema, expected_frame.schema)}")
    if actual.equals(expected_frame):
        return  # as nearly always; all that follows takes a hundred times as long
    actual, expected_frame = _with_canonical_json(actual), _with_canonical_json(expected_frame)
    if actual.height != expected_frame.height:
        raise AssertionError(f"{where}{_row_difference(actual, expected_frame)}")
    differing = _differing_cells(actual, expected_frame)
    if differing:
        raise AssertionError(f"{where}cells differ (row number, column, actual, expected):\n" + "\n".join(differing))
    # Polars has the last word, should the report above have overlooked anything.
    floats = [name for name, dtype in actual.schema.items() if dtype == pl.Float64()]
    assert_frame_equal(actual.drop(floats), expected_frame.drop(floats), check_exact=True)
    assert_frame_equal(
        actual.select(floats), expected_frame.select(floats), check_exact=False, rel_tol=FLOAT64_REL_TOL, abs_tol=0.0
    )


def assert_formats(
    conn: psycopg.Connection[Any],
    snapshot_dir: Path,
    tables: Sequence[TableLike],
    schema: str = "public",
    *,
    include_full_data: bool = False,
    is_rebuilt: bool = True,
) -> None:
    """Assert that both formats of a snapshot hold exactly what the oracle computes, in the same order.

    In a changed copy of an older DuckDB file (not `is_rebuilt`) new rows stand at the end: only ORDER BY has an order.
    """
    with _open_duckdb(snapshot_dir) as database:
        for table in tables:
            wanted = oracle_frame(conn, table, schema, include_full_data=include_full_data)
            in_parquet = read_parquet_face(snapshot_dir, table.name)
            assert_same(in_parquet, wanted, what=f"Parquet {table.name}")
            # What equals Parquet in each cell needs no second look at each of its cells.
            for ordered in (True, False)[: 1 + is_rebuilt]:
                in_duckdb = _read_table(database, table, ordered=ordered)
                if in_duckdb.schema != in_parquet.schema or not in_duckdb.equals(in_parquet):
                    where = f"DuckDB {table.name}{'' if ordered else ', physical order'}"
                    assert_same(in_duckdb, wanted, what=where)


def _schema_difference(actual: pl.Schema, wanted: pl.Schema) -> str:
    lines = [
        f"  {name}: actual {actual.get(name, 'absent')}, expected {wanted.get(name, 'absent')}"
        for name in dict.fromkeys([*wanted, *actual])
        if actual.get(name) != wanted.get(name)
    ]
    return "\n".join(
        ["schemas differ" if lines else "columns are in another order", *lines, f"  actual {list(actual)}"]
    )


def _row_difference(actual: pl.DataFrame, wanted: pl.DataFrame) -> str:
    keys = ["candidate_id"] if "candidate_id" in actual.columns else actual.columns[:1]
    keys = ["source_table", "source_id"] if "source_id" in actual.columns else keys
    counts = (
        actual.group_by(keys)
        .len("actual")
        .join(wanted.group_by(keys).len("expected"), on=keys, how="full", coalesce=True)
    )
    differing = counts.filter(pl.col("actual").ne_missing(pl.col("expected"))).sort(keys).head(_SHOWN_CELLS)
    return f"{actual.height} rows, expected {wanted.height}; ({', '.join(keys)}, actual, expected): {differing.rows()}"


def _differing_cells(actual: pl.DataFrame, wanted: pl.DataFrame) -> list[str]:
    cells: list[tuple[int, str]] = []
    for name in actual.columns:
        mine, other = actual[name], wanted[name]
        differs = mine.ne_missing(other)
        if mine.dtype == pl.Float64():
            near = (mine - other).abs() <= FLOAT64_REL_TOL * pl.select(
                pl.max_horizontal(mine.abs(), other.abs())
            ).to_series()
            differs &= ~near.fill_null(value=False)
        cells += [
            (row, f"  row {row}, {name}: {_shown(mine, row)} expected {_shown(other, row)}")
            for row in differs.arg_true().head(_SHOWN_CELLS)
        ]
    return [text for _, text in sorted(cells)[:_SHOWN_CELLS]]


def _shown(column: pl.Series, row: int) -> str:
    # Times as microseconds: Python has no datetime before year 1 or after 9999.
    value = (column.to_physical() if column.dtype.is_temporal() else column)[row]
    text = ascii(value.to_list() if isinstance(value, pl.Series) else value)
    return text if len(text) <= 300 else f"{text[:200]}... ({len(text)} characters) ...{text[-80:]}"


def _with_canonical_json(frame: pl.DataFrame) -> pl.DataFrame:
    if "row_json" not in frame.columns:
        return frame
    texts = [
        canonical_row_json(table, text)
        for table, text in zip(frame["source_table"].to_list(), frame["row_json"].to_list(), strict=True)
    ]
    return frame.with_columns(pl.Series("row_json", texts, pl.String))


def canonical_row_json(source_table: str, text: str) -> str:
    """A row_json in one spelling: keys in their order, numbers of real columns as the Float32 they are."""
    kinds = expected.SOURCE[source_table]
    pairs = json.loads(text, object_pairs_hook=list)
    return "\n".join(f"{key}={_canonical(kinds.get(key), value)}" for key, value in pairs)


def _canonical(kind: str | None, value: object) -> str:
    if kind == expected.REAL and isinstance(value, int | float) and not isinstance(value, bool):
        return f"real {struct.unpack('!f', struct.pack('!f', value))[0] + 0.0!r}"
    return f"{type(value).__name__} {value!r}"
