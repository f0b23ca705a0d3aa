"""CSV files of a source table as they lie on disk: which file, its header, its bytes; those of the built-in sample."""

import csv
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from pipelines.contracts.records import SAMPLE_IDENTITY, SourceRecord
from pipelines.errors import SampleError

_CHUNK_BYTES = 1 << 20
_MAX_HEADER_BYTES = 1 << 16
_MAX_NAME_BYTES = 63
_SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
_BOM = b"\xef\xbb\xbf"
SAMPLE_DIR = Path(__file__).resolve().parent / "data"


@dataclass(frozen=True)
class CsvFile:
    """An open CSV file whose header was read.

    Attributes:
        columns: Names from the header, in order.
        stream: The unpacked rest, from the first data line on.
    """

    path: Path
    columns: tuple[str, ...]
    header: bytes
    stream: BinaryIO

    def chunks(self) -> Iterator[bytes]:
        """The file, header included, a piece at a time.

        Raises:
            SampleError: The file can't be read or unpacked to its end.
        """
        yield self.header
        while chunk := _read(self.path, self.stream, _CHUNK_BYTES):
            yield chunk


def find_csv(directory: Path, table: str) -> Path:
    """The file of a table: `<table>.csv` or `<table>.csv.gz`.

    Raises:
        SampleError: There is none, or both are there.
    """
    if not directory.is_dir():
        raise SampleError(f"{directory} is no folder", expected="a folder with domains.csv and gleif_candidates.csv")
    found = [path for suffix in (".csv", ".csv.gz") if (path := directory / f"{table}{suffix}").is_file()]
    if len(found) != 1:
        raise SampleError(
            f"No single file for the table {table} in {directory}",
            expected=f"{table}.csv or {table}.csv.gz",
            found="both" if found else "neither",
            fix="remove one of them" if found else "export the table with COPY ... TO ... (FORMAT csv, HEADER)",
        )
    return found[0]


@contextmanager
def open_csv(path: Path) -> Iterator[CsvFile]:
    """Open a file and read its header.

    Raises:
        SampleError: The file can't be read, or its header can't be used.
    """
    try:
        plain = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    with plain, cast("BinaryIO", gzip.GzipFile(fileobj=plain) if path.suffix == ".gz" else plain) as stream:
        record = _header_record(path, stream)
        yield CsvFile(path, _column_names(path, record), record, stream)


def _header_record(path: Path, stream: BinaryIO) -> bytes:
    record = b""
    while not record or record.count(b'"') % 2:
        line = _read(path, stream, _MAX_HEADER_BYTES, line=True)
        record += line
        if len(record) >= _MAX_HEADER_BYTES:
            raise _bad_header(path, f"no end of it within {_MAX_HEADER_BYTES} bytes", "end lines with \\n or \\r\\n")
        if not line and record:
            raise _bad_header(path, "a quote that is not closed", "close it")
        if not line:
            raise _bad_header(path, "an empty file", "write at least the header line")
    return record


def _column_names(path: Path, record: bytes) -> tuple[str, ...]:
    try:
        text = record.removeprefix(_BOM).decode("utf-8")
        rows = list(csv.reader([text.rstrip("\r\n")], strict=True))
    except UnicodeDecodeError:
        raise _bad_header(path, "bytes that are not UTF-8", "convert the file to UTF-8") from None
    except csv.Error:
        raise _bad_header(path, "quotes that are not RFC 4180", "double the quotes inside a name") from None
    names = tuple(rows[0]) if rows else ()
    for position, name in enumerate(names, start=1):
        if not name.strip() or "\0" in name or len(name.encode()) > _MAX_NAME_BYTES or name in _SYSTEM_COLUMNS:
            raise _bad_header(path, f"a name that no column can have, number {position}", "correct the header")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise _bad_header(path, f"{', '.join(repeated)} more than once", "keep one of each")
    if "id" not in names:
        found = f"{len(names)} names without `id`; the first line may be data"
        raise _bad_header(path, found, "write the column names into the first line (psql: CSV HEADER)")
    return names


def _read(path: Path, stream: BinaryIO, size: int, *, line: bool = False) -> bytes:
    try:
        return stream.readline(size) if line else stream.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> SampleError:
    if isinstance(error, gzip.BadGzipFile | EOFError | zlib.error):
        return SampleError(
            f"{path} can't be unpacked", expected="a whole gzip file", found="damaged data", fix="copy it again"
        )
    found = error.strerror if isinstance(error, OSError) else None
    return SampleError(f"{path} can't be read", found=found or "", fix="make the file readable for this user")


def _bad_header(path: Path, found: str, fix: str) -> SampleError:
    return SampleError(
        f"The header of {path} can't be used", expected="column names, `id` among them", found=found, fix=fix
    )


def is_built_in_sample(source: SourceRecord) -> bool:
    """Whether a source is the embedded PostgreSQL with as many rows in each table as the built-in files have.

    `lei-exports sample load --from DIR` may have put other rows there.
    """
    if source.identity != SAMPLE_IDENTITY:
        return False
    return all(_rows(SAMPLE_DIR / f"{name}.csv") == relation.rows for name, relation in source.relations.items())


def _rows(path: Path) -> int:
    with path.open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1
