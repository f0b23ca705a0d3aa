"""A chunk as connectorx gives it, made fit for staging: all known columns, the contract's types, no impossible values.

Pure: Arrow in, Arrow out. Values that no published format carries (NaN, infinities) become NULL and are counted
(DESIGN 4, general rules).
"""

from collections import Counter
from dataclasses import dataclass

import dataframely as dy
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from pipelines.contracts.source import SourceTable, staged_schema
from pipelines.errors import ContractError

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
# What connectorx 0.4.6 makes of 'infinity' and '-infinity': the ends of its calendar, in microseconds.
INFINITE_MICROSECONDS = (8_210_266_876_799_999_999, -8_334_601_228_800_000_000)


@dataclass(frozen=True)
class ReadColumn:
    """A column as it is read.

    Attributes:
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


def clean_chunk(
    chunk: pa.Table, table: SourceTable, columns: dict[str, dy.Column], nulled: Counter[str]
) -> list[pa.RecordBatch]:
    """Bring a chunk to the staged schema.

    Args:
        chunk: Rows as read; a known column that the source lacks is missing here too.
        columns: Known columns, by name, in contract order.
        nulled: Counts per `<table>.<column>`; values set to NULL are added.

    Returns:
        Batches with exactly `columns`: one, unless a column has more text than an Arrow array holds (2 GiB).

    Raises:
        ContractError: An id is NULL, or a whole number can't be a real without loss.
    """
    schema = staged_schema(columns)
    return [_clean_batch(batch, table, schema, nulled) for batch in chunk.combine_chunks().to_batches()]


def _clean_batch(batch: pa.RecordBatch, table: SourceTable, schema: pa.Schema, nulled: Counter[str]) -> pa.RecordBatch:
    arrays = []
    for field in schema:
        if field.name not in batch.schema.names:
            arrays.append(pa.nulls(batch.num_rows, field.type))
            continue
        array = batch.column(field.name)
        where = f"{table.name}.{field.name}"
        if field.type == pa.float32():
            array = _as_finite_real(array, batch, where, nulled)
        elif field.type == pa.timestamp("us"):
            array = _as_finite_timestamp(array, where, nulled)
        arrays.append(array.cast(field.type))
    clean = pa.RecordBatch.from_arrays(arrays, schema=schema)
    if clean.column("id").null_count:
        raise ContractError(
            f"Source table {table.name} has rows without id",
            expected="an id in every row",
            found=f"{clean.column('id').null_count} or more rows with NULL",
            fix="give these rows an id; it is what the export names a row by",
        )
    return clean


def _as_finite_real(array: pa.Array, batch: pa.RecordBatch, where: str, nulled: Counter[str]) -> pa.Array:
    if pa.types.is_integer(array.type):
        magnitude = pc.max(pc.abs(array.cast(pa.int64()))).as_py()
        if magnitude is not None and magnitude > LARGEST_EXACT_IN_REAL:
            row = pc.index(pc.abs(array.cast(pa.int64())), magnitude).as_py()
            raise ContractError(
                f"Source column {where} can't be published as real",
                expected=f"whole numbers up to {LARGEST_EXACT_IN_REAL} (24 bits)",
                found=f"a larger one in the row with id {batch.column('id')[row].as_py()}",
                fix="correct the value, or change the column's type to real in the source",
            )
        return array.cast(pa.float32())
    return _null_unless(array, pc.is_finite(array), where, nulled)


def _as_finite_timestamp(array: pa.Array, where: str, nulled: Counter[str]) -> pa.Array:
    array = array.cast(pa.timestamp("us"))
    micros = array.view(pa.int64())
    is_finite = pc.invert(pc.is_in(micros, value_set=pa.array(INFINITE_MICROSECONDS, pa.int64())))
    return _null_unless(array, pc.if_else(pc.is_null(array), None, is_finite), where, nulled)


def _null_unless(array: pa.Array, keep: pa.Array, where: str, nulled: Counter[str]) -> pa.Array:
    bad = len(array) - array.null_count - (pc.sum(keep).as_py() or 0)
    if not bad:
        return array
    nulled[where] += bad
    return pc.if_else(keep, array, pa.scalar(None, array.type))
