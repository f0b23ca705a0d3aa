"""A snapshot to read, wherever it is: in an export folder or in object storage."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.settings import require_store
from pipelines.snapshots.lookup import find_snapshot
from pipelines.snapshots.opening import Snapshot, published_snapshot

if TYPE_CHECKING:
    from pipelines.remote.reading import RemoteSnapshot


def open_snapshot(place: str | Path, snapshot_id: str | None = None) -> "Snapshot | RemoteSnapshot":
    """Open a snapshot; `scan(table)` of either kind gives a table's rows as a Polars LazyFrame, in its sort order.

    Args:
        place: An export folder (EXPORT_DIR), or a prefix in object storage (PUBLISH_URL), such as s3://bucket/prefix;
            that needs the extra `cloud`.
        snapshot_id: Its id; None: the current one.

    Raises:
        SnapshotError: There is none in the export folder, or it can't be read.
        SettingsError: The prefix can't be used, or the extra is not installed.
        RemoteError: There is none in object storage, or the store can't be read.
    """
    if "://" in os.fspath(place):
        url = require_store(str(place))
        from pipelines.remote.reading import open_remote  # noqa: PLC0415  needs the extra `cloud`

        return open_remote(url, snapshot_id)
    if snapshot_id is not None:
        return find_snapshot(Path(place), snapshot_id)
    return published_snapshot(Path(place))
