"""Sends the files of a snapshot that object storage lacks, several at a time, and reads each back."""

import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from pipelines.contracts.records import FileRecord
from pipelines.errors import RemoteError
from pipelines.progress import OnProgress, Progress
from pipelines.remote.layout import SNAPSHOTS, object_name, snapshot_object
from pipelines.remote.store import RemoteStore
from pipelines.snapshots.opening import MANIFEST, Snapshot

_FILES_AT_A_TIME = 4
_REPORT_SECONDS = 0.5


@dataclass
class Sent:
    """What was sent so far.

    Attributes:
        objects: Number of objects that were sent; those that lay there already are not.
    """

    objects: int = 0
    bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, objects: int, size: int) -> None:
        """Count, from any thread."""
        with self._lock:
            self.objects += objects
            self.bytes += size


def send_files(  # noqa: PLR0913 - what to send, and where it is reported
    store: RemoteStore,
    snapshot: Snapshot,
    side_files: Sequence[FileRecord],
    sent: Sent,
    on_progress: OnProgress,
    *,
    trusted: set[str],
) -> None:
    """Send the files that the store lacks, several at a time, and read each back; the manifest last.

    Args:
        side_files: Its files that belong to no table, as far as they are to be there.
        trusted: Objects that were read back when they were sent. Others that lie there are read back now, and sent
            again where they are damaged.

    Raises:
        RemoteError: The store failed, or holds something else than was sent.
        OSError: A local file can't be read.
    """
    manifest = snapshot.manifest
    files = [(object_name(file), file) for table in manifest.tables for file in table.files]
    files += [(snapshot_object(manifest.id, file.path), file) for file in side_files]
    found = {
        name: listed.bytes
        for prefix in (*snapshot.table_names, f"{SNAPSHOTS}/{manifest.id}")
        for name, listed in store.sizes(prefix).items()
    }
    missing = [(name, file) for name, file in files if found.get(name) != file.bytes]
    total = sum(file.bytes for _, file in missing)

    def send(name: str, file: FileRecord) -> None:
        store.upload(name, snapshot.folder / file.path, lambda size: sent.add(0, size))
        sent.add(1, 0)
        if store.digest(name, file.bytes) != file.sha256:
            raise RemoteError(
                f"{name} of {store.url} is not what was published",
                expected=f"the sha256 of {file.path} in the manifest of snapshot {manifest.id}",
                fix="lei-exports verify tells whether the local file is damaged; else push again",
            )

    def check(name: str, file: FileRecord) -> None:
        if store.digest(name, file.bytes) != file.sha256:
            send(name, file)

    jobs = [(send, name, file) for name, file in missing]
    jobs += [(check, name, file) for name, file in files if found.get(name) == file.bytes and name not in trusted]
    with ThreadPoolExecutor(max_workers=_FILES_AT_A_TIME) as pool:
        try:
            _follow([pool.submit(work, name, file) for work, name, file in jobs], sent, total, on_progress)
        except BaseException:
            store.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    content = (snapshot.folder / MANIFEST).read_bytes()
    name = snapshot_object(manifest.id, MANIFEST)
    stored = store.read(name) if name in found else None
    if stored is None or stored.content != content:
        store.write(name, content)


def _follow(futures: Sequence[Future[None]], sent: Sent, total: int, on_progress: OnProgress) -> None:
    """Tell how far it is, from this thread, until all is done or one failed."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, _REPORT_SECONDS, FIRST_EXCEPTION)
        for future in done:
            future.result()
        if sent.bytes:
            on_progress(Progress("push", "files", sent.bytes, max(total, sent.bytes)))
