"""Rows of a table on disk, divided into buckets that are read one after the other: memory is that of one bucket.

Staging's own files go by segment (source/segment_writer.py); these go by hash or by LEI.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.system.files import write_failure

if TYPE_CHECKING:
    from numpy.typing import NDArray


# Of each column: 20 MB for all of them at most. 1,000,000 domains of the application have 200 batches, 250 countries.
_MAX_VALUES = 65_536
_MAX_BYTES = 1 << 21


class TextCodes:
    """Texts that repeat, as numbers: four bytes are moved for each, and written, instead of the text.

    The distinct texts stay in memory, up to a limit: the source may hold anything in any column. Beyond the limit what
    was encoded can still be decoded, and later texts stay texts.
    """

    def __init__(self) -> None:
        self._values: pa.Array = pa.array([], pa.string())
        self.is_full = False

    def encode(self, texts: pa.ChunkedArray) -> pa.ChunkedArray:
        """Codes (Int32) of dictionary-encoded texts, or where these are too many the texts; NULL stays NULL."""
        texts = texts.unify_dictionaries()
        found = texts.chunk(0).dictionary if texts.num_chunks else self._values.slice(0, 0)
        new = found.filter(pc.invert(pc.is_in(found, value_set=self._values)))
        count, size = len(self._values) + len(new), self._values.nbytes + new.nbytes
        self.is_full = self.is_full or count > _MAX_VALUES or size > _MAX_BYTES
        if self.is_full:
            return texts.cast(pa.string())
        if len(new):
            self._values = pa.concat_arrays([self._values, new])
        codes = pc.index_in(found, value_set=self._values)
        return pa.chunked_array([codes.take(chunk.indices) for chunk in texts.chunks], pa.int32())

    def decode(self, codes: pl.Series) -> pl.Series:
        """The texts of codes."""
        return pl.Series(codes.name, self._values, pl.String).gather(codes)


class Buckets:
    """The buckets of one table.

    A file is an Arrow IPC stream without its end mark: each append opens, writes and closes it, so that the number of
    buckets is not bound by the number of open files. A bucket has a file for each layout, that is, for each set of
    columns that came as codes. A column that is no longer encoded never is again: the order of layouts is that of rows.
    """

    def __init__(self, folder: Path, schema: Mapping[str, pl.DataType], codes: Mapping[str, TextCodes]) -> None:
        """Make the folder.

        Args:
            folder: For the files.
            schema: Columns and dtypes of the rows.
            codes: Of the columns that may come as codes.

        Raises:
            PublishError: It can't be made.
        """
        self._folder = folder
        self._schema = schema
        self._codes = {name: codes[name] for name in schema if name in codes}
        self._layouts: list[pa.Schema] = []
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise write_failure(f"{folder.name} could not be made", error) from error

    @property
    def columns(self) -> Sequence[str]:
        """Names of the columns."""
        return list(self._schema)

    def append(self, rows: pa.Table, buckets: "NDArray[np.uint16]") -> None:
        """Distribute rows, some columns as codes, over the files of their buckets, in their order."""
        rows = rows.select(self.columns).replace_schema_metadata(None)
        if rows.schema not in self._layouts:
            self._layouts.append(rows.schema)
        layout = self._layouts.index(rows.schema)
        start = 0
        for batch in rows.combine_chunks().to_batches():
            self._scatter(batch, buckets[start : start + batch.num_rows], layout)
            start += batch.num_rows

    def read(self, bucket: int) -> pl.DataFrame:
        """Rows of a bucket, in the order in which they were appended."""
        parts = [
            self._read(path) for layout in range(len(self._layouts)) if (path := self._file(bucket, layout)).exists()
        ]
        return pl.concat(parts) if parts else pl.DataFrame(schema=self._schema)

    def _read(self, path: Path) -> pl.DataFrame:
        frame = pl.read_ipc_stream(path).rechunk()
        path.unlink()
        coded = {name: codes for name, codes in self._codes.items() if frame.schema[name] == pl.Int32}
        return frame.with_columns(codes.decode(frame[name]) for name, codes in coded.items())

    def _scatter(self, batch: pa.RecordBatch, buckets: "NDArray[np.uint16]", layout: int) -> None:
        # Stable argsort of uint16 is a radix sort, and one take is half of what partition_by costs (FACTS 3.1).
        order = np.argsort(buckets, kind="stable")
        batch = batch.take(pa.array(order))
        in_order = buckets[order]
        starts = [0, *(np.flatnonzero(np.diff(in_order)) + 1).tolist()]
        for start, end in zip(starts, [*starts[1:], batch.num_rows], strict=True):
            self._write(self._file(int(in_order[start]), layout), batch.slice(start, end - start))

    def _file(self, bucket: int, layout: int) -> Path:
        return self._folder / f"{bucket:05d}-{layout}.arrow"

    def _write(self, path: Path, rows: pa.RecordBatch) -> None:
        is_new = not path.exists()
        try:
            with path.open("ab") as file:
                if is_new:
                    file.write(rows.schema.serialize())
                file.write(rows.serialize())
        except OSError as error:
            raise write_failure(f"Rows could not be put aside in {path.parent.name}/{path.name}", error) from error
