"""A batch as one Parquet file: its rows of domain_exports with every column and type, and their candidates as a list.

Belongs here: the nested rows and their file. Does not: the published Parquet files (the publish room's).
"""

from typing import BinaryIO

import pyarrow.parquet as pq

from pipelines.reading.batch.batches import CANDIDATES, DOMAINS, Batch, ChunkSize
from pipelines.reading.batch.text_formats import OF_CHUNK, RANK_ORDER
from pipelines.reading.sessions import quoted

# A chunk becomes a row group: small ones compress badly and are slow to read.
PARQUET_CHUNK = ChunkSize(domains=10_000, candidates=50_000)


def write_parquet(batch: Batch, file: BinaryIO, size: ChunkSize = PARQUET_CHUNK) -> None:
    """Write the batch; a row group is in memory at a time.

    Args:
        batch: The open batch.
        file: Where to; it stays open.
        size: Largest row group.

    Raises:
        SnapshotError: The snapshot can't be read any more.
        OSError: The file can't be written.
    """
    sql = _nested_rows(batch)
    writer: pq.ParquetWriter | None = None
    try:
        for rows in batch.read_arrow(sql, size):
            if writer is None:
                writer = pq.ParquetWriter(file, rows.schema, compression="zstd")
            writer.write_table(rows, row_group_size=size.domains)
        if writer is not None:
            writer.add_key_value_metadata({"snapshot": batch.snapshot.manifest.id, "batch_id": batch.batch_id})
    finally:
        if writer is not None:
            writer.close()


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
