"""Where the bytes of a batch come from: read from the snapshot, or a file that was kept of an earlier answer."""

from collections.abc import Iterator
from functools import cached_property

from pipelines.query.batch.files import BatchFormat, BatchOptions, stream_batch
from pipelines.query.database import Reader
from pipelines.serving.encoding import Encoding, compressor_of
from pipelines.serving.file_cache import CachedFile, CacheWriter


class KeptSource:
    """A file of the cache."""

    def __init__(self, file: CachedFile) -> None:
        self.size: int | None = file.size
        self.is_stopped = False
        self._file = file

    def read(self) -> bytes | None:
        """The next part; None at the end, or when nobody waits."""
        return None if self.is_stopped else self._file.read()

    def stop(self) -> None:
        """Nobody waits any more."""
        self.is_stopped = True


class SnapshotSource:
    """A batch that is read, compressed and kept as it goes."""

    size: int | None = None

    def __init__(  # noqa: PLR0913, PLR0917  what makes one file another
        self,
        reader: Reader,
        batch_id: str,
        batch_format: BatchFormat,
        options: BatchOptions,
        encoding: Encoding | None,
        draft: CacheWriter,
    ) -> None:
        self._reader = reader
        self._batch_id = batch_id
        self._format = batch_format
        self._options = options
        self._compressor = compressor_of(encoding) if encoding else None
        self._draft = draft
        self._is_over = False

    def read(self) -> bytes | None:
        """The next part, not empty; None at the end.

        Raises:
            BatchFileError: The batch does not fit the format; of the first part only.
            QueryStoppedError: Nobody waits any more.
            SnapshotError: The snapshot can't be read.
        """
        while not self._is_over:
            part = next(self._parts, None)
            if part is None:
                self._is_over = True
                part = self._compressor.flush() if self._compressor else b""
            elif self._compressor:
                part = self._compressor.compress(part)
            if part:
                self._draft.write(part)
            if self._is_over:
                self._draft.keep()
            if part:
                return part
        return None

    def stop(self) -> None:
        """End what runs; what is read later fails."""
        self._reader.stop()

    @property
    def is_stopped(self) -> bool:
        """Whether nobody waits any more."""
        return self._reader.is_stopped

    def close(self) -> None:
        """Let DuckDB's result or the file on disk go; no read may be on its way."""
        if "_parts" in self.__dict__:
            self._parts.close()  # type: ignore[attr-defined]

    @cached_property
    def _parts(self) -> Iterator[bytes]:
        return stream_batch(self._reader.open_batch(self._batch_id), self._format, self._options)
