"""Which snapshots stay in object storage, and how the others go: their record first, so that nobody opens them.

Not by Delta's vacuum: it goes by the age of a file's removal and knows no snapshots, so it would delete files that a
kept version needs (or, given the versions to keep, write two commits to each table each time).
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from pydantic import ValidationError

from pipelines.checks.definitions import OLD_SNAPSHOTS_REMOVED
from pipelines.contracts.records import CheckRecord, Manifest
from pipelines.errors import RemoteError
from pipelines.remote.delta import read_state
from pipelines.remote.layout import DATA_OBJECT, RECORD, SNAPSHOTS, RemoteRecord, object_name, snapshot_object
from pipelines.remote.store import Listed, RemoteStore
from pipelines.settings import Settings
from pipelines.snapshots.opening import MANIFEST

_LOG = "_delta_log"
_LOG_ENTRY = re.compile(r"(\d{20})\.(json|checkpoint\..*parquet|checkpoint\.parquet|crc)")


def prune_remote(store: RemoteStore, current: RemoteRecord, settings: Settings, now: datetime) -> CheckRecord:
    """Delete the snapshots that need not stay, then what no kept snapshot and no newest version needs.

    The current one always stays, so do the last PUBLISH_KEEP_SNAPSHOTS, and each for PUBLISH_KEEP_HOURS after the next
    one was published. An object that belongs to no snapshot stays for that time too: a push that is under way may have
    sent it. Objects whose names are not ours are never touched.

    Returns:
        The check that says what was deleted.

    Raises:
        RemoteError: The store failed, or a record can't be read; then no data is deleted.
    """
    stored = store.sizes(SNAPSHOTS)
    records = {record.snapshot_id: record for record in _records(store, stored)} | {current.snapshot_id: current}
    oldest = now - timedelta(hours=settings.publish_keep_hours)
    kept = _kept(records.values(), current, settings.publish_keep_snapshots, oldest)
    dropped = sorted(records.keys() - kept)
    store.delete(snapshot_object(snapshot_id, RECORD) for snapshot_id in dropped)
    # From here on: only what is neither of a kept snapshot nor recent.
    needed = {name for snapshot_id in kept for name in _needed(store, snapshot_id)}
    gone = {
        name: found
        for name, found in stored.items()
        # snapshots/<id>/<file>; some tools make an object for a folder.
        if len(parts := name.split("/")) == 3  # noqa: PLR2004
        and parts[1] not in kept
        and (parts[1] in dropped or found.modified_at < oldest)
        and parts[2] != RECORD
    }
    for table in current.tables:
        objects = store.sizes(table)
        unneeded = {
            name: found
            for name, found in objects.items()
            if DATA_OBJECT.fullmatch(name.removeprefix(f"{table}/"))
            and name not in needed
            and found.modified_at < oldest
        }
        # The newest version may be that of a publisher which did not come to its switch.
        newest = read_state(store, table) if unneeded else None
        in_use = {f"{table}/{name}" for name in newest.files} if newest else set()
        gone |= {name: found for name, found in unneeded.items() if name not in in_use}
        versions = [records[i].tables[table].version for i in kept if table in records[i].tables]
        gone |= _old_log(table, objects, min(versions))
    store.delete(gone)
    return OLD_SNAPSHOTS_REMOVED.result(
        passed=True,
        snapshots=dropped,
        objects=len(gone) + len(dropped),
        bytes=sum(found.bytes for found in gone.values()),
    )


def _records(store: RemoteStore, names: Iterable[str]) -> Iterator[RemoteRecord]:
    for name in names:
        if name.endswith(f"/{RECORD}") and (found := store.read(name)) is not None:
            try:
                yield RemoteRecord.model_validate_json(found.content)
            except ValidationError:
                raise RemoteError(
                    f"{name} of {store.url} can't be read, so nothing is deleted there",
                    expected="the record of a snapshot",
                    fix="delete that object; lei-exports push writes the current one again",
                ) from None


def _kept(records: Iterable[RemoteRecord], current: RemoteRecord, keep_snapshots: int, oldest: datetime) -> set[str]:
    """Ids of the snapshots that stay: the newest ones, and those whose successor is not older than a time."""
    # Not by time: what was published by a clock that was ahead would be the newest until then.
    ordered = sorted(records, key=lambda record: record.sequence)
    kept = {record.snapshot_id for record in ordered[-keep_snapshots:]} | {current.snapshot_id}
    return kept | {
        record.snapshot_id for record, successor in itertools.pairwise(ordered) if successor.published_at > oldest
    }


def _needed(store: RemoteStore, snapshot_id: str) -> Iterator[str]:
    """Data objects of a snapshot, by its manifest there."""
    name = snapshot_object(snapshot_id, MANIFEST)
    found = store.read(name)
    try:
        manifest = Manifest.model_validate_json(found.content if found else b"")
    except ValidationError:
        raise RemoteError(
            f"{name} of {store.url} can't be read, so no data is deleted there",
            expected="the manifest of a snapshot that is kept",
            fix=f"delete {snapshot_object(snapshot_id, RECORD)}, so that it is no snapshot any more",
        ) from None
    yield from (object_name(file) for table in manifest.tables for file in table.files)


def _old_log(table: str, objects: dict[str, Listed], oldest_version: int) -> dict[str, Listed]:
    """Entries of a log before the last checkpoint that every kept version can be read from."""
    entries = {
        name: match for name in objects if (match := _LOG_ENTRY.fullmatch(name.removeprefix(f"{table}/{_LOG}/")))
    }
    checkpoints = [int(match[1]) for match in entries.values() if match[2].startswith("checkpoint")]
    first = max((version for version in checkpoints if version <= oldest_version), default=0)
    return {name: objects[name] for name, match in entries.items() if int(match[1]) < first}
