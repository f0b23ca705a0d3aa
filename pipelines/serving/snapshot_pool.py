"""The snapshot that is served: opened once, shared by all requests, let go when the last of them has ended.

A request leases the snapshot that is current when it begins and keeps it, whatever is published meanwhile.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.errors import ExportError, SnapshotError
from pipelines.query.database import SnapshotDatabase, open_database
from pipelines.query.query_memory import QueryMemory
from pipelines.serving.export_sources import FileCache
from pipelines.serving.settings import ServingSettings
from pipelines.snapshots.opening import CURRENT, Snapshot, current_snapshot

_LOG = logging.getLogger(__name__)
# A snapshot that can't be opened is tried again after so long: its files may be on their way.
_RETRY_SECONDS = 1.0
_ATTEMPTS = 3


class OpenSnapshot:
    """A snapshot that is open, batches of it that were sent, and how many use it."""

    def __init__(self, database: SnapshotDatabase, files: FileCache) -> None:
        self.database = database
        self.files = files
        self.uses = 0
        self.is_retired = False

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot."""
        return self.database.snapshot


class SnapshotPool:
    """Holds the current snapshot open. Of use to all threads.

    Attributes:
        memory: What queries of all snapshots may take together.
        error: Why the snapshot that `current` points at is not the one that is served; None: it is.
    """

    def __init__(self, settings: ServingSettings) -> None:
        self._settings = settings
        self.memory = QueryMemory(settings.api_memory_mb, "API_MEMORY_MB", batches=settings.api_max_exports)
        self.error: ExportError | None = None
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._opened: OpenSnapshot | None = None
        self._link: str | None = None
        self._failed: tuple[str | None, float] | None = None

    @property
    def is_stale(self) -> bool:
        """Whether `current` points elsewhere than when it was last followed: microseconds, asked by each request."""
        link = self._read_link()
        if self._failed is None:
            return link != self._link
        return link != self._failed[0] or time.monotonic() - self._failed[1] > _RETRY_SECONDS

    def refresh(self) -> None:
        """Follow `current`, some 50 ms where it changed. If that fails what is served stays, and `error` says why."""
        with self._refreshing:
            if not self.is_stale:
                return
            # The link is read before it is followed: a switch in between is noticed by the next request.
            link = self._read_link()
            try:
                self._follow()
            except ExportError as error:
                if self._failed is None or self._failed[0] != link:
                    _LOG.warning("The published snapshot can't be served: %s", error)
                self._failed, self.error = (link, time.monotonic()), error
            else:
                self._link, self._failed, self.error = link, None, None

    @contextmanager
    def lease(self) -> Iterator[OpenSnapshot]:
        """The snapshot, kept open until the block ends.

        Raises:
            SnapshotError: Nothing is published, or it can't be opened.
        """
        with self._lock:
            opened = self._opened
            if opened is not None:
                opened.uses += 1
        if opened is None:
            raise self.error or SnapshotError("Nothing is published yet", fix="run `lei-exports run`")
        try:
            yield opened
        finally:
            with self._lock:
                opened.uses -= 1
                is_last = opened.is_retired and opened.uses == 0
            if is_last:
                _close(opened)

    def close(self) -> None:
        """Let the snapshot go; those who lease it still keep it until they end."""
        self._replace(None)
        self._link = None

    def _follow(self) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            snapshot = current_snapshot(self._settings.export_dir)
            if snapshot is None:
                if self._opened is not None:
                    raise SnapshotError(
                        f"{self._settings.export_dir / CURRENT} is gone",
                        found=f"snapshot {self._opened.snapshot.manifest.id} is still served",
                        fix="run `lei-exports run`, or point the link at a folder in snapshots/",
                    )
                return
            if self._opened is not None and self._opened.snapshot.folder == snapshot.folder:
                return
            try:
                self._replace(self._open(snapshot))
            except SnapshotError:
                # It may have been replaced and cleared away since `current` was read: then there is a newer one.
                if attempt == _ATTEMPTS or snapshot.folder.is_dir():
                    raise
            else:
                _LOG.info("Serving snapshot %s", snapshot.manifest.id)
                return

    def _open(self, snapshot: Snapshot) -> OpenSnapshot:
        database = open_database(snapshot, self.memory)
        return OpenSnapshot(database, FileCache(self._settings.api_cache_dir, self._settings.api_cache_mb << 20))

    def _replace(self, new: OpenSnapshot | None) -> None:
        with self._lock:
            old, self._opened = self._opened, new
            if old is None:
                return
            old.is_retired = True
            is_unused = old.uses == 0
        if is_unused:
            _close(old)

    def _read_link(self) -> str | None:
        try:
            return os.readlink(self._settings.export_dir / CURRENT)  # noqa: PTH115  as text, without making a path of it
        except OSError:
            return None


def _close(opened: OpenSnapshot) -> None:
    opened.database.close()
    opened.files.close()
    _LOG.info("Let go of snapshot %s", opened.snapshot.manifest.id)
