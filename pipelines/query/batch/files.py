"""A batch in the format that was asked for: streamed as bytes, written into an open file, or to a path."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from pipelines.errors import BatchFileError
from pipelines.query.batch.batches import Batch
from pipelines.query.batch.chunks import DEFAULT_CHUNK, ChunkSize
from pipelines.query.batch.text_formats import stream_csv, stream_json, stream_ndjson
from pipelines.query.batch.workbook import EXCEL_ROWS, Cut, check_fits, write_workbook
from pipelines.system.files import replace_file

_BLOCK = 1 << 20
_NAME_CHARACTERS = 80


class BatchFormat(StrEnum):
    """The formats; each is also the suffix of the file's name."""

    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"
    XLSX = "xlsx"
    PARQUET = "parquet"

    @property
    def is_text(self) -> bool:
        """Whether it can be shown in a terminal."""
        return self in {BatchFormat.CSV, BatchFormat.JSON, BatchFormat.NDJSON}


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is written.

    Attributes:
        raw: CSV: leave texts alone that a spreadsheet would run as a formula.
        bom: CSV: begin with the mark by which Excel knows UTF-8.
        size: How much is in memory at a time (Parquet has row groups of its own size).
        max_excel_rows: xlsx: most rows of a sheet.
    """

    raw: bool = False
    bom: bool = False
    size: ChunkSize = DEFAULT_CHUNK
    max_excel_rows: int = EXCEL_ROWS


DEFAULTS = BatchOptions()


@dataclass(frozen=True)
class WrittenBatch:
    """What was written.

    Attributes:
        cuts: xlsx: texts that Excel does not take in full.
    """

    bytes: int
    cuts: tuple[Cut, ...] = ()


def stream_batch(batch: Batch, batch_format: BatchFormat, options: BatchOptions = DEFAULTS) -> Iterator[bytes]:
    """The batch as bytes, in memory bounded by a chunk; text formats begin at once, the others are spooled to disk.

    Args:
        batch: The open batch; it must stay open until the last part.

    Returns:
        Parts of the file, none of them empty. To stop early, close the iterator.

    Raises:
        BatchFileError: The batch does not fit in the format: here, not when the first part is asked for.
    """
    if batch_format is BatchFormat.CSV:
        return stream_csv(batch, options.size, raw=options.raw, bom=options.bom)
    if batch_format is BatchFormat.JSON:
        return stream_json(batch, options.size)
    if batch_format is BatchFormat.NDJSON:
        return stream_ndjson(batch, options.size)
    if batch_format is BatchFormat.XLSX:
        check_fits(batch, options.max_excel_rows)
    return _spooled(batch, batch_format, options)


def encode_batch(
    batch: Batch, batch_format: BatchFormat, file: BinaryIO, options: BatchOptions = DEFAULTS
) -> WrittenBatch:
    """Write the batch into an open file or pipe.

    Args:
        file: Where to; it stays open.

    Raises:
        BatchFileError: The batch does not fit in the format.
        SnapshotError: The snapshot can't be read any more.
        OSError: The file can't be written.
    """
    if not (batch_format.is_text or file.seekable()):
        with tempfile.TemporaryFile(prefix="lei-exports-") as spool:
            written = encode_batch(batch, batch_format, spool, options)
            spool.seek(0)
            shutil.copyfileobj(spool, file, _BLOCK)
        return written
    if batch_format is BatchFormat.XLSX:
        cuts = write_workbook(batch, file, options.size, options.max_excel_rows)
        return WrittenBatch(file.seek(0, os.SEEK_END), cuts)
    if batch_format is BatchFormat.PARQUET:
        from pipelines.query.batch.parquet_format import write_parquet  # noqa: PLC0415  loads pyarrow, 25 MB

        write_parquet(batch, file, options.size)
        return WrittenBatch(file.tell())
    size = 0
    for part in stream_batch(batch, batch_format, options):
        file.write(part)
        size += len(part)
    return WrittenBatch(size)


def write_batch(
    batch: Batch, batch_format: BatchFormat, target: Path, options: BatchOptions = DEFAULTS
) -> WrittenBatch:
    """Write the batch to a path: next to it, then renamed over it, so that there is never half a file.

    Args:
        target: The file; an older one is replaced.

    Raises:
        BatchFileError: The batch does not fit in the format, or the file can't be written.
        SnapshotError: The snapshot can't be read any more.
    """
    try:
        with replace_file(target) as file:
            return encode_batch(batch, batch_format, file, options)
    except OSError as error:
        raise BatchFileError(
            f"{target} can't be written",
            found=os.strerror(error.errno) if error.errno else error.strerror or type(error).__name__,
            fix="name another file with --out, or make room for this one",
        ) from error


def file_name(batch_id: str, batch_format: BatchFormat) -> str:
    """A file name for a batch that is safe on every system: an id can hold `/`, `..` or spaces.

    Characters that are not safe become `_`; then, and where the id is long, eight digits of its hash keep two apart.
    """
    safe = re.sub(r"[^A-Za-z0-9_.\-]", "_", batch_id)[:_NAME_CHARACTERS]
    if safe != batch_id:
        safe += f"-{short_hash(batch_id)}"
    return f"batch-{safe}.{batch_format}"


def short_hash(text: str) -> str:
    """Eight digits that tell texts apart."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _spooled(batch: Batch, batch_format: BatchFormat, options: BatchOptions) -> Iterator[bytes]:
    with tempfile.TemporaryFile(prefix="lei-exports-") as file:
        encode_batch(batch, batch_format, file, options)
        file.seek(0)
        while part := file.read(_BLOCK):
            yield part
