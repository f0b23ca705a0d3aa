"""Opens a snapshot in object storage: its record once, then each table at the version that belongs to it."""

from dataclasses import dataclass
from typing import TypeVar

import polars as pl
from deltalake import DeltaTable
from pydantic import BaseModel, ValidationError

from pipelines.contracts.records import Manifest
from pipelines.errors import RemoteError
from pipelines.remote.errors import store_errors
from pipelines.remote.layout import CURRENT, RECORD, RemoteRecord, snapshot_object
from pipelines.remote.store import RemoteStore
from pipelines.settings import require_store
from pipelines.snapshots.opening import MANIFEST

_RETRY_SECONDS = 60.0
_Record = TypeVar("_Record", bound=BaseModel)


@dataclass(frozen=True)
class RemoteSnapshot:
    """A snapshot in object storage. It stays the one that was opened, whatever is published meanwhile."""

    store: RemoteStore
    record: RemoteRecord

    @property
    def table_names(self) -> tuple[str, ...]:
        """Names of its tables."""
        return tuple(self.record.tables)

    def manifest(self) -> Manifest:
        """Its manifest, as in the local snapshot.

        Raises:
            RemoteError: It is gone, can't be read, or is of another snapshot.
        """
        name = snapshot_object(self.record.snapshot_id, MANIFEST)
        manifest = _parsed(Manifest, self.store, name)
        if manifest.id != self.record.snapshot_id:
            raise RemoteError(
                f"{name} of {self.store.url} is of another snapshot", found=manifest.id, fix="push that snapshot again"
            )
        return manifest

    def scan(self, table_name: str) -> pl.LazyFrame:
        """Rows of a table in its sort order, as the snapshot has them.

        Raises:
            RemoteError: The snapshot has no such table, or its log can't be read. What fails later, while rows are
                read, is an error of Polars.
        """
        if table_name not in self.record.tables:
            raise RemoteError(
                f"Snapshot {self.record.snapshot_id} has no table {table_name}",
                expected=f"one of {', '.join(self.table_names)}",
                fix="name one of its tables",
            )
        version = self.record.tables[table_name].version
        with store_errors(f"The Delta table {table_name} of {self.store.url} can't be read"):
            table = DeltaTable(
                self.store.table_url(table_name), version=version, storage_options=self.store.delta_options
            )
            # Names sort in key order; a log has none.
            files = sorted(table.file_uris())
        return pl.scan_parquet(files, glob=False, hive_partitioning=False)


def open_remote(url: str, snapshot_id: str | None = None, retry_seconds: float = _RETRY_SECONDS) -> RemoteSnapshot:
    """Open a snapshot in object storage.

    Args:
        url: The prefix, as in PUBLISH_URL; credentials, region and endpoint are the store's variables.
        snapshot_id: Its id; None: the one that is current there.

    Raises:
        SettingsError: The URL can't be used.
        RemoteError: There is no such snapshot, or the store can't be read.
    """
    store = RemoteStore(require_store(url), retry_seconds)
    name = CURRENT if snapshot_id is None else snapshot_object(snapshot_id, RECORD)
    return RemoteSnapshot(store, _parsed(RemoteRecord, store, name))


def _parsed(kind: type[_Record], store: RemoteStore, name: str) -> _Record:
    found = store.read(name)
    if found is None:
        raise RemoteError(
            f"{store.url} has no {name}",
            expected="a snapshot that was pushed there and is kept",
            fix="name one that is there, or publish with PUBLISH_URL set, or lei-exports push",
        )
    try:
        return kind.model_validate_json(found.content)
    except ValidationError:
        raise RemoteError(
            f"{name} of {store.url} can't be read", expected="what lei-exports wrote", fix="push again"
        ) from None
