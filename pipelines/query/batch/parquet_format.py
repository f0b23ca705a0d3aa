"""A batch as one Parquet file: its rows of domain_exports with all columns, and their candidates as a list."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.contracts.orders import RANK_ORDER_SQL
from pipelines.query.batch.batches import CANDIDATES, DOMAINS, Batch
from pipelines.query.batch.chunks import ChunkQueries, ChunkSize
from pipelines.query.batch.text_formats import OF_CHUNK
from pipelines.snapshots.duckdb_connections import quoted

# Rows of a row group: small ones compress badly and are slow to read, and each is in memory while it is put together
# (16 MB more with 5,000).
_ROW_GROUP = 2_000
# pyarrow's other pools keep what was freed: 20 to 30 MB more.
_POOL = pa.system_memory_pool()


def write_parquet(batch: Batch, file: BinaryIO, size: ChunkSize) -> None:
    """Write the batch; a row group is in memory at a time.

    Args:
        file: Where to; it stays open.

    Raises:
        SnapshotError: The snapshot can't be read any more.
        OSError: The file can't be written.
    """
    writer: pq.ParquetWriter | None = None
    try:
        for rows in _row_groups(batch.read(partial(_nested_rows, batch), size), batch.memory.chunk_bytes):
            if writer is None:
                # Without dictionaries: zstd does it as well (4.0 instead of 7.0 MB of 100,000 rows), in 8 MB less.
                writer = pq.ParquetWriter(
                    file, rows.schema, compression="zstd", use_dictionary=False, memory_pool=_POOL
                )
            writer.write_table(rows, row_group_size=rows.num_rows)
        if writer is not None:
            writer.add_key_value_metadata({"snapshot": batch.snapshot.manifest.id, "batch_id": batch.batch_id})
    finally:
        if writer is not None:
            writer.close()


def _row_groups(parts: Iterable[pa.Table], max_bytes: int) -> Iterator[pa.Table]:
    """Parts put together to row groups: as many whole ones as fit, at least one."""
    held: list[pa.Table] = []
    rows = size = 0
    for part in parts:
        if held and (rows + part.num_rows > _ROW_GROUP or size + part.nbytes > max_bytes):
            yield pa.concat_tables(held)
            held, rows, size = [], 0, 0
        held.append(part)
        rows += part.num_rows
        size += part.nbytes
    if held:
        yield pa.concat_tables(held)


def _nested_rows(batch: Batch, chunk: ChunkQueries) -> pa.Table:
    """Domain rows of a chunk, with their candidates as a list of structs in the last column."""
    columns = ", ".join(map(quoted, ("domain_id", *batch.candidate_columns)))
    candidates = chunk.table(
        f"SELECT {columns} FROM {CANDIDATES} WHERE {OF_CHUNK} ORDER BY domain_id, {RANK_ORDER_SQL}"
    )
    columns = ", ".join(map(quoted, batch.domain_columns))
    domains = chunk.table(f"SELECT {columns} FROM {DOMAINS} WHERE {OF_CHUNK} ORDER BY domain_id")
    ids = domains.column("domain_id").to_numpy()
    owners = candidates.column("domain_id").to_numpy()
    if not (known := np.isin(owners, ids)).all():
        candidates, owners = candidates.filter(pa.array(known)), owners[known]
    # Where the candidates of each row begin, and where those of the last one end.
    offsets = np.append(np.searchsorted(owners, ids), len(owners)).astype(np.int32)
    names = list(batch.candidate_columns)
    structs = pa.StructArray.from_arrays([_whole(candidates.column(name)) for name in names], names)
    return domains.append_column("candidates", pa.ListArray.from_arrays(offsets, structs))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks(_POOL)
