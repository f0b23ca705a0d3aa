"""A batch as one Parquet file: its rows of domain_exports with every column and type, and their candidates as a list.

Belongs here: the nested rows and their file. Does not: the published Parquet files (the publish room's).
"""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.reading.batch.batches import CANDIDATES, DEFAULT_CHUNK, DOMAINS, Batch, ChunkSize
from pipelines.reading.batch.text_formats import OF_CHUNK, RANK_ORDER
from pipelines.reading.sessions import quoted

# Rows of a row group: small ones compress badly and are slow to read, and each takes memory until the file is complete.
_ROW_GROUP = 5_000
# pyarrow's other pools keep what was freed: 20 to 30 MB more.
_POOL = pa.system_memory_pool()


def write_parquet(batch: Batch, file: BinaryIO, size: ChunkSize = DEFAULT_CHUNK) -> None:
    """Write the batch; a row group is in memory at a time.

    Args:
        batch: The open batch.
        file: Where to; it stays open.
        size: How much is read at a time.

    Raises:
        SnapshotError: The snapshot can't be read any more.
        OSError: The file can't be written.
    """
    sql = _nested_rows(batch)
    writer: pq.ParquetWriter | None = None
    try:
        for rows in _row_groups(batch.read_arrow(sql, size)):
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


def _row_groups(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Parts put together to row groups: as many whole ones as fit, at least one."""
    held: list[pa.Table] = []
    rows = 0
    for part in parts:
        if held and rows + part.num_rows > _ROW_GROUP:
            yield pa.concat_tables(held)
            held, rows = [], 0
        held.append(part)
        rows += part.num_rows
    if held:
        yield pa.concat_tables(held)


def _nested_rows(batch: Batch) -> str:
    fields = ", ".join(f"{quoted(name)} := {quoted(name)}" for name in batch.candidate_columns)
    struct = f"struct_pack({fields})"
    columns = ", ".join(f"rows.{quoted(name)}" for name in batch.domain_columns)
    return f"""
        WITH ranked AS (
            SELECT domain_id, list({struct} ORDER BY {RANK_ORDER}) AS candidates
            FROM {CANDIDATES} WHERE {OF_CHUNK} GROUP BY domain_id
        ), rows AS (SELECT * FROM {DOMAINS} WHERE {OF_CHUNK})
        SELECT {columns}, coalesce(ranked.candidates, []) AS candidates
        FROM rows LEFT JOIN ranked USING (domain_id) ORDER BY rows.domain_id"""
