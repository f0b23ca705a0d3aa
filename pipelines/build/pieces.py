"""Rows that a task leaves for many others: one Arrow IPC file with a record batch for each of them, and an index.

The one module that writes and reads such files. A producer writes its file once, next to its name, and renames it; what
a killed one left is written again. A consumer reads its batches from the files of all producers. A run has as many
pieces as producers times consumers: at most MAX_RANGES page ranges times the segments, and segments times
MAX_KEY_RANGES key ranges; beyond these both become larger.
"""

import zlib
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pyarrow as pa

from pipelines.system.files import written_beside

MAX_RANGES = 2_048
MAX_KEY_RANGES = 1_024
_CRC_BYTES = 4
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")

INDEX = pl.Schema(
    {
        "kind": pl.String(),
        "consumer": pl.Int64(),
        "file": pl.String(),
        "offset": pl.Int64(),
        "length": pl.Int64(),
        "rows": pl.Int64(),
        "crc": pl.UInt32(),
    }
)
"""Where pieces are: what they hold, for whom (NULL: rows without a domain_id), file, place in it (bytes), rows, CRC-32.

Staged files are not synced, and Arrow stores what does not compress as it is: 4 KiB of zeros, as a power cut leaves
them, were read as rows at 898 of 1,182 places. CRC-32 of 1 GB takes 0.25 s.
"""


def write_pieces(
    folder: Path, name: str, kind: str, schema: pa.Schema, batches: Iterable[tuple[int | None, pa.RecordBatch]]
) -> pl.DataFrame:
    """Write one file of pieces.

    Args:
        folder: Where it lies; it is there already.
        kind: What the rows are.
        batches: The consumer of each piece, and its rows.

    Returns:
        The index of the file: INDEX.

    Raises:
        OSError: It can't be written.
    """
    found = []
    with (
        written_beside(folder / name, is_synced=False) as beside,
        pa.OSFile(str(beside), "wb") as file,
        pa.ipc.new_file(file, schema, options=_COMPRESSED) as writer,
    ):
        writer.write_batch(pa.RecordBatch.from_pylist([], schema))  # the first write brings the schema too
        for consumer, batch in batches:
            offset = file.tell()
            writer.write_batch(batch)
            found.append((kind, consumer, name, offset, file.tell() - offset, batch.num_rows))
        writer.close()
        file.flush()
        with pa.memory_map(str(beside)) as written:
            rows = [(*piece, zlib.crc32(_bytes_of(written, *piece[3:5]))) for piece in found]
    return pl.DataFrame(rows, INDEX, orient="row")


def _bytes_of(file: pa.NativeFile, offset: int, length: int) -> pa.Buffer:
    file.seek(offset)
    return file.read_buffer(length)


def read_pieces(folder: Path, pieces: pl.DataFrame, schema: pa.Schema) -> pl.DataFrame:
    """Rows of pieces of one kind, in the order of the index.

    Args:
        pieces: Their part of the index: INDEX.

    Raises:
        OSError: A file is missing or too short.
        pa.ArrowInvalid: A file is damaged.
    """
    batches = [
        _read_piece(folder / name, offset, length, crc, schema)
        for name, offset, length, crc in pieces.select("file", "offset", "length", "crc").iter_rows()
    ]
    found = pl.from_arrow(pa.Table.from_batches(batches, schema))
    assert isinstance(found, pl.DataFrame)  # noqa: S101  from_arrow gives a Series for arrays only
    return found


def _read_piece(path: Path, offset: int, length: int, crc: int, schema: pa.Schema) -> pa.RecordBatch:
    with pa.OSFile(str(path)) as file:
        piece = _bytes_of(file, offset, length)
    if zlib.crc32(piece) != crc:
        raise pa.ArrowInvalid(f"{path.name} has other bytes than were written")
    return pa.ipc.read_record_batch(piece, schema)


class PieceIndex:
    """The index of all pieces of a step, in the order of their files; kept in a file for the steps that follow.

    Attributes:
        frame: INDEX, sorted by kind, consumer and place.
    """

    def __init__(self, parts: Iterable[pl.DataFrame]) -> None:
        frames = list(parts) or [INDEX.to_frame()]
        self.frame = pl.concat(frames).sort("kind", "consumer", "file", "offset", nulls_last=True)
        self._by_consumer = self.frame.partition_by("kind", "consumer", as_dict=True)

    def of(self, kind: str, consumer: int | None) -> pl.DataFrame:
        """The pieces of a kind for one consumer: INDEX."""
        return self._by_consumer.get((kind, consumer), self.frame.clear())

    def write(self, path: Path) -> None:
        """Write the index.

        Raises:
            OSError: It can't be written.
        """
        content = self.frame.write_ipc(None).getvalue()
        with written_beside(path, is_synced=False) as beside:
            beside.write_bytes(zlib.crc32(content).to_bytes(_CRC_BYTES) + content)

    @classmethod
    def read(cls, path: Path) -> "PieceIndex":
        """Read an index that was written.

        Raises:
            OSError, polars.exceptions.PolarsError: It is missing or damaged.
        """
        found = path.read_bytes()
        crc, content = found[:_CRC_BYTES], found[_CRC_BYTES:]
        if zlib.crc32(content).to_bytes(_CRC_BYTES) != crc:
            raise pl.exceptions.ComputeError("the index has other bytes than were written")
        return cls([pl.read_ipc(content)])  # not by its name, which may hold what Polars takes for a pattern
