"""Rows of a table on disk, divided into buckets that are read one after the other: memory is that of one bucket.

Belongs here: writing rows to the files of their buckets, and reading a bucket. Does not: which bucket a row belongs to
(deriving.py). Staging's own files go by segment (extract/scatter.py); these go by hash or by LEI.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from pipelines.publish.files import write_failure

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TextCodes:
    """Texts that repeat, as numbers: four bytes are moved for each, and written, instead of the text.

    The distinct texts stay in memory: for columns with few of them, such as a status or a batch.
    """

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def encode(self, texts: pa.ChunkedArray) -> pa.ChunkedArray:
        """Codes (Int32) of dictionary-encoded texts; NULL stays NULL."""
        return pa.chunked_array([self._encode(chunk) for chunk in texts.chunks], pa.int32())

    def decode(self, codes: pl.Series) -> pl.Series:
        """The texts of codes."""
        return pl.Series(codes.name, list(self._codes), pl.String).gather(codes)

    def _encode(self, chunk: pa.DictionaryArray) -> pa.Array:
        known = self._codes
        numbers = np.array([known.setdefault(text, len(known)) for text in chunk.dictionary.to_pylist()], np.int32)
        indices = chunk.indices
        if not len(numbers):
            return pa.nulls(len(chunk), pa.int32())
        values = numbers[indices.fill_null(0).to_numpy(zero_copy_only=False)]
        return pa.array(values, mask=indices.is_null().to_numpy(zero_copy_only=False))


class Buckets:
    """The buckets of one table.

    A file is an Arrow IPC stream without its end mark: each append opens, writes and closes it, so that the number of
    buckets is not bound by the number of open files.
    """

    def __init__(self, folder: Path, schema: Mapping[str, pl.DataType], codes: Mapping[str, TextCodes]) -> None:
        """Make the folder.

        Args:
            folder: For the files.
            schema: Columns and dtypes of the rows.
            codes: Of the columns that are kept as codes.

        Raises:
            PublishError: It can't be made.
        """
        self._folder = folder
        self._schema = schema
        self._codes = {name: codes[name] for name in schema if name in codes}
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise write_failure(f"{folder.name} could not be made", error) from error

    @property
    def columns(self) -> Sequence[str]:
        """Names of the columns."""
        return list(self._schema)

    def append(self, rows: pa.Table, buckets: "NDArray[np.uint16]") -> None:
        """Distribute rows, coded as `codes` says, over the files of their buckets, in their order."""
        start = 0
        for batch in rows.select(self.columns).combine_chunks().to_batches():
            self._scatter(batch, buckets[start : start + batch.num_rows])
            start += batch.num_rows

    def read(self, bucket: int) -> pl.DataFrame:
        """Rows of a bucket, in the order in which they were appended."""
        path = self._file(bucket)
        if not path.exists():
            return pl.DataFrame(schema=self._schema)
        frame = pl.read_ipc_stream(path).rechunk()
        path.unlink()
        return frame.with_columns(codes.decode(frame[name]) for name, codes in self._codes.items())

    def _scatter(self, batch: pa.RecordBatch, buckets: "NDArray[np.uint16]") -> None:
        # Stable argsort of uint16 is a radix sort, and one take is half of what partition_by costs (FACTS).
        order = np.argsort(buckets, kind="stable")
        batch = batch.take(pa.array(order))
        in_order = buckets[order]
        starts = [0, *(np.flatnonzero(np.diff(in_order)) + 1).tolist()]
        for start, end in zip(starts, [*starts[1:], batch.num_rows], strict=True):
            self._write(int(in_order[start]), batch.slice(start, end - start))

    def _file(self, bucket: int) -> Path:
        return self._folder / f"{bucket:05d}.arrow"

    def _write(self, bucket: int, rows: pa.RecordBatch) -> None:
        path = self._file(bucket)
        is_new = not path.exists()
        try:
            with path.open("ab") as file:
                if is_new:
                    file.write(rows.schema.serialize())
                file.write(rows.serialize())
        except OSError as error:
            raise write_failure(f"Rows could not be put aside in {path.parent.name}/{path.name}", error) from error
