"""The one place that talks to object storage: objects by name below the prefix, and the options for Delta's client.

Credentials, region, endpoint and encryption are the stores' own variables (AWS_*, GOOGLE_*, AZURE_*), as they are.
"""

import hashlib
import os
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import LocalStore, from_url

from pipelines.errors import RemoteConflictError, RemoteError
from pipelines.remote.errors import store_errors
from pipelines.system.file_lock import hold_lock

# What is sent and read at once. A larger file goes up in parts of this size, so it is also the unit of memory.
PART_BYTES = 8 * 1024 * 1024
_PARTS_AT_A_TIME = 4
_CONNECT_SECONDS = 10
_SHORTEST_ANSWER_S, _MAX_ANSWER_S = 2.0, 120.0
_MAX_RETRIES = 100  # the time is what ends it
_VARIABLES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
# Variables of the stores about the connection; options that are given in the program would hide them.
_OF_CLIENT = ("allow_http", "proxy_url", "proxy_excludes", "proxy_ca_certificate", "timeout", "connect_timeout")
_LOCK = ".current.lock"
_LOCK_WAIT_SECONDS = 60.0
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Listed:
    """An object in a listing.

    Attributes:
        modified_at: When it was written, by the store's clock, UTC.
    """

    bytes: int
    modified_at: datetime


@dataclass(frozen=True)
class Versioned:
    """An object's content and the tag by which a later write can tell that it is still the same."""

    content: bytes
    tag: str | None


class Pace:
    """Lets so many bytes a second pass over all threads, until it is stopped.

    Args:
        mb_per_s: Megabytes a second; 0: any number.
    """

    def __init__(self, mb_per_s: float) -> None:
        self._bytes_per_s = mb_per_s * _MEGABYTE
        self._free_at = 0.0
        self._lock = threading.Lock()
        self.stopped = threading.Event()

    def wait_for(self, size: int) -> None:
        """Wait until a number of bytes may be sent.

        Raises:
            RemoteError: It was stopped.
        """
        delay = 0.0
        if self._bytes_per_s:
            with self._lock:
                begin = max(time.monotonic(), self._free_at)
                self._free_at = begin + size / self._bytes_per_s
            delay = begin - time.monotonic()
        self.stopped.wait(max(0.0, delay))
        self.require_going()

    def require_going(self) -> None:
        """Raise where nobody waits for what is sent or read.

        Raises:
            RemoteError: It was stopped.
        """
        if self.stopped.is_set():
            raise RemoteError("What was under way to or from object storage was stopped", fix="lei-exports push")


class RemoteStore:
    """Objects below a prefix. Each method raises RemoteError, with what failed and why, where the store fails.

    Args:
        url: The prefix (settings.require_store_url).
        retry_seconds: How long a request that fails is tried again; up to 120 s also how long an answer may take.
        mb_per_s: Most that is sent; 0: no limit.
    """

    def __init__(self, url: str, retry_seconds: float, mb_per_s: float = 0) -> None:
        self.url = url
        self.pace = Pace(mb_per_s)
        answer_s = min(_MAX_ANSWER_S, max(_SHORTEST_ANSWER_S, retry_seconds))
        self._is_local = urllib.parse.urlsplit(url).scheme == "file"
        client = {
            "timeout": f"{answer_s:g}s",
            "connect_timeout": f"{_CONNECT_SECONDS}s",
            **_client_variables(url, os.environ),
        }
        retry = {"max_retries": _MAX_RETRIES, "retry_timeout": timedelta(seconds=retry_seconds)}
        more: dict[str, Any] = {"client_options": client, "retry_config": retry}
        # Delta's client takes the same as text.
        self.delta_options = {**client, "max_retries": str(_MAX_RETRIES), "retry_timeout": f"{retry_seconds:g}s"}
        with store_errors(f"{url} can't be used"):
            self._store = from_url(url, mkdir=True) if self._is_local else from_url(url, **more)

    def stop(self) -> None:
        """End what other threads send or read, at their next part; their uploads are aborted."""
        self.pace.stopped.set()

    def table_url(self, table: str) -> str:
        """Where the Delta table of a table is."""
        return f"{self.url}/{table}"

    def read(self, name: str) -> Versioned | None:
        """An object of a few kilobytes; None where there is none."""
        with store_errors(f"{name} of {self.url} can't be read"):
            try:
                found = obstore.get(self._store, name)
                return Versioned(bytes(found.bytes()), found.meta.get("e_tag"))
            except FileNotFoundError:
                if self._is_local:
                    return None
        self._require_reachable()
        return None

    def write(self, name: str, content: bytes) -> None:
        """Write a small object, whatever was there."""
        with store_errors(f"{name} can't be written to {self.url}"):
            obstore.put(self._store, name, content, use_multipart=False)

    def replace(self, name: str, content: bytes, expected: Versioned | None) -> None:
        """Write an object if it is still the one that was read, or is still missing.

        Args:
            expected: What was read of it; None: there was none.

        Raises:
            RemoteConflictError: Somebody else has written it meanwhile.
        """
        with store_errors(f"{name} can't be written to {self.url}"):
            try:
                if self._is_local and expected is not None:
                    self._replace_file(name, content, expected)
                else:
                    mode: Any = "create" if expected is None else {"e_tag": expected.tag}
                    obstore.put(self._store, name, content, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                # An answer that got lost is asked for again: then it was this very call that wrote it.
                now = self.read(name)
                if now is None or now.content != content:
                    raise self.conflict(name) from None

    def upload(self, name: str, path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> None:
        """Send a file in parts, at the pace that was set; a failed upload leaves no object and no parts.

        Args:
            on_bytes: Called with the size of each part that is sent.
        """
        with store_errors(f"{name} can't be sent to {self.url}"), path.open("rb") as file:
            size = path.stat().st_size
            if size <= PART_BYTES:
                obstore.put(self._store, name, b"".join(self._parts(file, on_bytes)), use_multipart=False)
                return
            parts = self._parts(file, on_bytes)
            obstore.put(self._store, name, parts, chunk_size=PART_BYTES, max_concurrency=_PARTS_AT_A_TIME)

    def chunks(self, name: str, size: int) -> Iterator[bytes]:
        """The content of an object of a known size, part by part, so that a broken connection costs one part."""
        for start in range(0, size, PART_BYTES):
            with store_errors(f"{name} of {self.url} can't be read"):
                end = min(size, start + PART_BYTES)
                part = bytes(obstore.get_range(self._store, name, start=start, end=end))
            self.pace.require_going()
            yield part

    def digest(self, name: str, size: int) -> str:
        """The sha256 of what is stored, lower-case hex; it is read whole."""
        digest = hashlib.sha256()
        for part in self.chunks(name, size):
            digest.update(part)
        return digest.hexdigest()

    def sizes(self, prefix: str) -> dict[str, Listed]:
        """Objects whose names begin with `<prefix>/`, by name."""
        with store_errors(f"{prefix}/ of {self.url} can't be listed"):
            return {
                found["path"]: Listed(found["size"], found["last_modified"])
                for page in obstore.list(self._store, f"{prefix}/")
                for found in page
            }

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; one that is gone already is none to complain of."""
        with store_errors(f"Old objects of {self.url} can't be deleted"):
            for name in names:
                with suppress(FileNotFoundError):
                    obstore.delete(self._store, name)

    def conflict(self, name: str) -> RemoteConflictError:
        """The error of the publisher that came second."""
        return RemoteConflictError(
            f"Another publisher has changed {name} of {self.url} meanwhile, so this snapshot is not current there",
            expected="one publisher for each prefix",
            fix="let one EXPORT_DIR publish to one PUBLISH_URL; then lei-exports push publishes this one",
        )

    def _require_reachable(self) -> None:
        """Tell an object that is missing from a bucket that is."""
        with store_errors(f"{self.url} can't be read"):
            next(iter(obstore.list(self._store, chunk_size=1)), None)

    def _replace_file(self, name: str, content: bytes, expected: Versioned) -> None:
        """File systems know no conditional write, so a lock stands in for it (on one host)."""
        if not isinstance(self._store, LocalStore) or self._store.prefix is None:  # nothing else is local
            raise NotImplementedError
        with hold_lock(Path(self._store.prefix) / _LOCK, _LOCK_WAIT_SECONDS):
            now = self.read(name)
            if now is None or now.tag != expected.tag:
                raise self.conflict(name)
            obstore.put(self._store, name, content, use_multipart=False)

    def _parts(self, file: IO[bytes], on_bytes: Callable[[int], None]) -> Iterator[bytes]:
        while part := file.read(PART_BYTES):
            self.pace.wait_for(len(part))
            yield part
            on_bytes(len(part))


def _client_variables(url: str, environment: Mapping[str, str]) -> dict[str, str]:
    prefix = _VARIABLES.get(urllib.parse.urlsplit(url).scheme, "")
    return {name: value for name in _OF_CLIENT if prefix and (value := environment.get(f"{prefix}{name.upper()}"))}
