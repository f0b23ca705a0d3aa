"""A chunk as connectorx gives it, made fit for staging: all known columns, the contract's types, no impossible values.

Pure: Arrow in, Arrow out. Values that no published format carries (NaN, infinities) become NULL and are counted
(DESIGN 4, general rules).
"""

from collections import Counter

import dataframely as dy
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contracts.source import SourceTable
from pipelines.errors import ContractError
from pipelines.source.casts import LARGEST_EXACT_IN_REAL

# What connectorx 0.4.6 makes of 'infinity' and '-infinity': the ends of its calendar, in microseconds.
INFINITE_MICROSECONDS = (8_210_266_876_799_999_999, -8_334_601_228_800_000_000)

_ARROW_TYPES: dict[pl.DataType, pa.DataType] = {
    pl.Int32(): pa.int32(),
    pl.Int64(): pa.int64(),
    pl.Float32(): pa.float32(),
    pl.String(): pa.string(),
    pl.Boolean(): pa.bool_(),
    pl.Datetime("us"): pa.timestamp("us"),
}


def staged_schema(columns: dict[str, dy.Column]) -> pa.Schema:
    """Arrow schema of the staged rows of a source table."""
    return pa.schema([(name, _ARROW_TYPES[column.dtype]) for name, column in columns.items()])


def clean_chunk(
    chunk: pa.Table, table: SourceTable, columns: dict[str, dy.Column], nulled: Counter[str]
) -> list[pa.RecordBatch]:
    """Bring a chunk to the staged schema.

    Args:
        chunk: Rows as read; a known column that the source lacks is missing here too.
        table: Source table, for messages.
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
    is_finite = pc.is_finite(array)
    return _null_unless(array, is_finite, where, nulled)


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
