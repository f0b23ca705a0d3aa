"""Where the bytes of a batch come from: read from the snapshot, or a file that was kept of an earlier answer.

A source is of use to one thread at a time; its `stop` may come from any.

Batches that were sent are kept on disk until their snapshot is gone: 25 MB are sent in 30 ms, and made in 0.4 s.
"""

import logging
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import cached_property
from io import FileIO
from pathlib import Path

from pipelines.query.batch.batches import batch_of
from pipelines.query.batch.chunks import ChunkSize
from pipelines.query.batch.files import BatchFormat, BatchOptions, stream_batch
from pipelines.query.database import Reader
from pipelines.serving.negotiation import Encoding, compressor_of

_LOG = logging.getLogger(__name__)
_BLOCK = 1 << 20
# With 5,000 candidates a batch of 100,000 domains takes 5.1 instead of 5.7 s, and 6 MB more.
_OPTIONS = BatchOptions(size=ChunkSize(domains=600, candidates=3_000))


class FileCache:
    """Files by key, on disk without a name. The least recently used goes first. Safe to use from all threads."""

    def __init__(self, folder: Path | None, max_bytes: int) -> None:
        """An empty cache in a folder (None: the system's temporary one), of `max_bytes` in all; 0 keeps nothing."""
        self.folder = folder
        self.bytes = 0  # of all files, those that are being written too
        self._max_bytes = max_bytes
        self._files: OrderedDict[Hashable, tuple[FileIO, int]] = OrderedDict()  # with their sizes
        self._lock = threading.Lock()

    @contextmanager
    def open(self, key: Hashable) -> Iterator[tuple[int, int] | None]:
        """Descriptor and size of a kept file; in the block it stays readable, even if it is evicted. None: not kept."""
        with self._lock:
            file, size = self._files.get(key, (None, 0))
            if file:
                self._files.move_to_end(key)
            found = (os.dup(file.fileno()), size) if file else None
        try:
            yield found
        finally:
            if found:
                os.close(found[0])

    def close(self) -> None:
        """Let all files go, and keep none from now on."""
        with self._lock:
            self._max_bytes = 0
            self._evict(0)

    def reserve(self, more: int, size: int) -> bool:
        """Count bytes of a file that has `size` bytes with them; False: they do not fit."""
        with self._lock:
            if size > self._max_bytes // 2:  # one file must not evict all others
                return False
            self._evict(self._max_bytes - more)
            fits = self.bytes + more <= self._max_bytes
            self.bytes += more if fits else 0
            return fits

    def end(self, key: Hashable, file: FileIO | None, size: int, *, keep: bool) -> None:
        """Keep or forget a file that was written; of two with one key, which are equal, the first is kept."""
        with self._lock:
            if keep and file and self._max_bytes and key not in self._files:
                self._files[key] = file, size
                return
            self.bytes -= size
        if file:
            file.close()

    def _evict(self, max_bytes: int) -> None:
        while self._files and self.bytes > max_bytes:
            _, (file, size) = self._files.popitem(last=False)
            self.bytes -= size
            file.close()


class CacheWriter:
    """Writes one file into a cache. Where that fails the file is forgotten, and its client does not notice."""

    def __init__(self, cache: FileCache, key: Hashable) -> None:
        self._cache, self._key, self._size, self._is_over = cache, key, 0, False
        self._file: FileIO | None = None

    def write(self, part: bytes) -> None:
        """Add a part."""
        if self._is_over or not self._cache.reserve(len(part), self._size + len(part)):
            self.end(keep=False)
            return
        self._size += len(part)
        try:
            self._file = self._file or tempfile.TemporaryFile(dir=self._cache.folder, buffering=0)  # noqa: SIM115  end()
            view = memoryview(part)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            _LOG.warning("A batch is not kept: %s", error.strerror)
            self.end(keep=False)

    def end(self, *, keep: bool) -> None:
        """Keep the file, which is whole, or forget it. Only the first call counts."""
        if not self._is_over:
            self._is_over = True
            self._cache.end(self._key, self._file, self._size, keep=keep)


class KeptSource:
    """A file of the cache, by its descriptor and size."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.size = size
        self.is_stopped = False
        self._descriptor = descriptor
        self._offset = 0

    def read(self) -> bytes | None:
        """The next part; None at the end, or when nobody waits.

        Raises:
            OSError: The disk can't be read.
        """
        if self.is_stopped:
            return None
        part = os.pread(self._descriptor, _BLOCK, self._offset)
        self._offset += len(part)
        return part or None

    def stop(self) -> None:
        """Nobody waits any more: what is read later is None."""
        self.is_stopped = True


class SnapshotSource:
    """A batch that is read, compressed and kept as it goes."""

    size: int | None = None

    def __init__(
        self, reader: Reader, batch_id: str, batch_format: BatchFormat, encoding: Encoding | None, writer: CacheWriter
    ) -> None:
        self._reader = reader
        self._batch_id = batch_id
        self._format = batch_format
        self._compressor = compressor_of(encoding) if encoding else None
        self._writer = writer
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
                self._writer.write(part)
            if self._is_over:
                self._writer.end(keep=True)
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
        return stream_batch(batch_of(self._reader, self._batch_id), self._format, _OPTIONS)
