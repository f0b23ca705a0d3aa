"""The first stage of a run: one page range of a table, read in the run's snapshot, into one file of pieces.

Candidates of a segment can lie on any page, so a range has rows of many segments: the file has a piece for each.
"""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa
from pydantic import SecretStr

from pipelines.build.pieces import write_pieces
from pipelines.build.staging import writing
from pipelines.contracts.segments import Segmentation
from pipelines.contracts.source import SourceTable, source_columns, staged_schema
from pipelines.errors import ExtractError
from pipelines.source.chunk import clean_chunk
from pipelines.source.ranges import ROW_HASH
from pipelines.source.reader import read_query

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Stable argsort of uint16 is a radix sort: 1 core-second for 4.7 million rows in all, with one take (FACTS 3.1).
_RADIX_LIMIT = 2**16


@dataclass(frozen=True)
class ReadTask:
    """One query, and where its rows go.

    Attributes:
        number: Place of the range among those of its table.
        query: A SELECT of the columns that the source has, in contract order, and of the hash of each row.
        url: Where connectorx connects; secret.
        setup: Statements that put its connection into the snapshot.
        folder: The folder of the staged rows; it is there already.
    """

    number: int
    table: SourceTable
    query: str
    url: SecretStr
    setup: list[str]
    include_full_data: bool
    segmentation: Segmentation
    folder: Path


@dataclass(frozen=True)
class ReadFacts:
    """What came of it.

    Attributes:
        number: Place of the range among those of its table.
        pieces: Index of the file.
        nulled: Values that became NULL, `<table>.<column>` to count.
        digests: Sum of the hashes of the rows, by segment.
        seconds: How long it took, or took to fail.
        error: Why connectorx failed, where it did; nothing else was found then.
    """

    number: int
    table: str
    pieces: pl.DataFrame
    nulled: Counter[str]
    digests: dict[int | None, int]
    seconds: float
    error: ExtractError | None = None

    @property
    def rows(self) -> int:
        """Rows that were read."""
        return int(self.pieces["rows"].sum())


def read_range(task: ReadTask) -> ReadFacts:
    """Read a range, clean it, and write its rows.

    Raises:
        ContractError: An id is NULL, or a value does not fit.
        StagingError: The file can't be written.
    """
    started = time.monotonic()
    columns = source_columns(task.table, include_full_data=task.include_full_data)
    schema, name, nulled = staged_schema(columns), task.table.name, Counter[str]()
    try:
        chunk = read_query(task.url, task.query, task.setup)
    except ExtractError as error:
        return ReadFacts(task.number, name, pl.DataFrame(), nulled, {}, time.monotonic() - started, error)
    column = task.table.segment_column
    digests = digests_by_segment(chunk, column, task.segmentation)
    cleaned = clean_chunk(chunk.drop_columns([ROW_HASH]), task.table, columns, nulled)
    del chunk
    parts = (part for batch in cleaned for part in split_by_segment(batch, column, task.segmentation))
    with writing(task.folder.parent):
        pieces = write_pieces(task.folder, f"{name}-{task.number:06d}.arrow", name, schema, parts)
    return ReadFacts(task.number, name, pieces, nulled, digests, time.monotonic() - started)


def digests_by_segment(chunk: pa.Table, column: str, segmentation: Segmentation) -> dict[int | None, int]:
    """Sum of the hashes of a chunk's rows by segment, as PostgreSQL adds them up (fingerprint.py).

    Args:
        chunk: Rows as read, with ROW_HASH.
        column: Name of the column that has the ids of domains; None is the segment of rows without one.
    """
    cuts = pl.Series(segmentation.cuts, dtype=pl.Int64)
    ids, hashes = (pl.Series(chunk[name], dtype=pl.Int64) for name in (column, ROW_HASH))
    # In two halves: the sum of a few hashes is beyond 64 bits.
    halves = (
        pl.DataFrame({"place": cuts.search_sorted(ids, side="right"), "is_null": ids.is_null(), "hash": hashes})
        .group_by(pl.when("is_null").then(None).otherwise("place"))
        .agg(pl.col("hash").floordiv(2**32).sum().alias("high"), pl.col("hash").mod(2**32).sum().alias("low"))
    )
    numbers = segmentation.numbers
    return {None if place is None else numbers[place]: high * 2**32 + low for place, high, low in halves.iter_rows()}


def split_by_segment(
    batch: pa.RecordBatch, column: str, segmentation: Segmentation
) -> list[tuple[int | None, pa.RecordBatch]]:
    """The rows of a batch by segment, in their order.

    Args:
        column: Name of the column that has the ids of domains; None is the segment of rows without one.
    """
    parts: list[tuple[int | None, pa.RecordBatch]] = []
    if not batch.num_rows:
        return parts
    ids = batch.column(column)
    if ids.null_count:
        parts.append((None, batch.filter(ids.is_null())))
        batch = batch.filter(ids.is_valid())
        ids = batch.column(column)
        if not batch.num_rows:
            return parts
    places: NDArray[np.intp] = np.searchsorted(np.array(segmentation.cuts, np.int64), ids.to_numpy(), side="right")
    numbers = segmentation.numbers
    if places.min() == places.max():
        return [*parts, (numbers[places[0]], batch)]
    if (np.diff(places) < 0).any():
        order = np.argsort(places.astype(np.uint16) if len(numbers) < _RADIX_LIMIT else places, kind="stable")
        batch = batch.take(pa.array(order))
        places = places[order]
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    ends = np.append(starts[1:], len(places))
    parts += [(numbers[places[s]], batch.slice(int(s), int(e - s))) for s, e in zip(starts, ends, strict=True)]
    return parts
