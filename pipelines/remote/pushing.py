"""Sends the current snapshot to object storage and makes it current there.

Every step can be repeated: a push that was killed is completed by the next one, also where others were published since.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from pipelines.checks.definitions import OLD_SNAPSHOTS_REMOVED
from pipelines.contracts.records import CheckRecord, Manifest
from pipelines.contracts.tables import published_tables
from pipelines.errors import RemoteConflictError, RemoteError
from pipelines.progress import OnProgress, Progress, ignore_progress
from pipelines.remote.delta import DeltaState, commit_table, read_state
from pipelines.remote.layout import CURRENT, RECORD, RemoteRecord, record_of, side_files, snapshot_object
from pipelines.remote.retention import prune_remote
from pipelines.remote.sending import Sent, send_files
from pipelines.remote.store import RemoteStore, Versioned
from pipelines.remote.verification import check_objects, check_versions
from pipelines.settings import Settings
from pipelines.snapshots.history import read_switches
from pipelines.snapshots.opening import Snapshot, list_snapshots
from pipelines.system.files import write_failure

_RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        record: The snapshot that is current there now.
        is_new: Whether it was made current by this push.
        checks: What was checked afterwards; those of severity `error` all passed.
    """

    url: str
    record: RemoteRecord
    is_new: bool
    sent_objects: int
    sent_bytes: int
    seconds: float
    checks: tuple[CheckRecord, ...]


def push_snapshot(  # noqa: PLR0913 - what an operator may choose
    settings: Settings,
    snapshot: Snapshot,
    on_progress: OnProgress = ignore_progress,
    *,
    replace: bool = False,
    check_all: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Pushed:
    """Publish a local snapshot under PUBLISH_URL. The caller holds the lock of the run.

    In this order: data objects, each read back; a commit to each Delta table; the snapshot's record; current.json by
    one conditional write, the commit point; then checks and retention.

    Args:
        settings: The settings; PUBLISH_URL is set.
        snapshot: The current local snapshot.
        replace: Publish although what is current there was never published from this export folder.
        check_all: Read back also what was sent earlier, and send again what is damaged.

    Raises:
        RemoteConflictError: Another publisher was there before, or meanwhile.
        RemoteError: The store refused or failed; what is current there is as it was.
        PublishError: A local file can't be read.
    """
    started = time.monotonic()
    store = RemoteStore(settings.publish_url or "", settings.publish_retry_seconds, settings.publish_mb_per_s)
    manifest, sent = snapshot.manifest, Sent()
    before, current = _read_current(store)
    if not replace:
        _require_own(settings, store, current)
    others = tuple(side_files(manifest)) if settings.publish_database else ()
    on_progress(Progress("push", f"snapshot {manifest.id} to {store.url}"))
    try:
        newest = {name: read_state(store, name) for name in snapshot.table_names}
        trusted = set() if check_all else _trusted(store, manifest, newest)
        send_files(store, snapshot, others, sent, on_progress, trusted=trusted)
        if _tag(store.read(CURRENT)) != _tag(before):
            raise store.conflict(CURRENT)
        states = _commit_tables(store, snapshot, newest, on_progress)
    except OSError as error:
        raise write_failure(f"Snapshot {manifest.id} could not be sent", error) from error
    versions = {name: state.version for name, state in states.items()}
    record = record_of(manifest, versions, tuple(file.path for file in others), now())
    is_new = current is None or current.model_copy(update={"published_at": record.published_at}) != record
    if current is not None and not is_new:
        record = current
    if is_new or store.read(snapshot_object(manifest.id, RECORD)) is None:
        store.write(snapshot_object(manifest.id, RECORD), record.content())
    if is_new:
        store.replace(CURRENT, record.content(), before)
        on_progress(Progress("push", f"{CURRENT} is snapshot {manifest.id}"))
    _, published = _read_current(store)
    if published is None or published.snapshot_id != manifest.id:
        raise store.conflict(CURRENT)
    checks = (*check_objects(store, manifest, published), *check_versions(manifest, published, states))
    _require_passed(store, checks)
    pruned = _prune(settings, store, record, now())
    return Pushed(store.url, record, is_new, sent.objects, sent.bytes, time.monotonic() - started, (*checks, pruned))


def require_pushable(settings: Settings) -> RemoteRecord | None:
    """Look at PUBLISH_URL without writing there: whether it can be read, and is this export folder's own.

    Returns:
        The snapshot that is current there; None: none yet.

    Raises:
        RemoteError: A push would fail.
    """
    store = RemoteStore(settings.publish_url or "", min(settings.publish_retry_seconds, _RETRY_SECONDS))
    _, current = _read_current(store)
    _require_own(settings, store, current)
    return current


def _read_current(store: RemoteStore) -> tuple[Versioned | None, RemoteRecord | None]:
    """current.json as it is stored, and the record that it holds; None and None: nothing is published there."""
    found = store.read(CURRENT)
    try:
        return found, None if found is None else RemoteRecord.model_validate_json(found.content)
    except ValidationError:
        raise RemoteError(
            f"{CURRENT} of {store.url} is not the record of a snapshot",
            fix="set PUBLISH_URL to a prefix of its own, or delete that object",
        ) from None


def _require_own(settings: Settings, store: RemoteStore, current: RemoteRecord | None) -> None:
    """Refuse to replace what was never published from this export folder: it may be another publisher's prefix."""
    if current is None:
        return
    known = {switch.snapshot_id for switch in read_switches(settings.export_dir)}
    known |= {snapshot.manifest.id for snapshot in list_snapshots(settings.export_dir).snapshots}
    if current.snapshot_id not in known:
        raise RemoteConflictError(
            f"{store.url} holds a snapshot that was never published from {settings.export_dir}",
            expected="one EXPORT_DIR for each PUBLISH_URL",
            found=f"snapshot {current.snapshot_id} (sequence {current.sequence}) of source {current.source}",
            fix="set PUBLISH_URL to a prefix of its own, or replace that snapshot: lei-exports push --replace",
        )


def _trusted(store: RemoteStore, manifest: Manifest, newest: Mapping[str, DeltaState | None]) -> set[str]:
    """Objects that a push has read back: it commits, and writes the record, only when all of them are right.

    Others may be what a push has left that was killed before it could look.
    """
    trusted = {f"{name}/{file}" for name, state in newest.items() if state is not None for file in state.files}
    if store.read(snapshot_object(manifest.id, RECORD)) is not None:
        trusted |= {snapshot_object(manifest.id, file.path) for file in side_files(manifest)}
    return trusted


def _commit_tables(
    store: RemoteStore, snapshot: Snapshot, newest: Mapping[str, DeltaState | None], on_progress: OnProgress
) -> dict[str, DeltaState]:
    known = {table.name: table for table in published_tables(include_full_data=snapshot.manifest.include_full_data)}
    states = {}
    for record in snapshot.manifest.tables:
        state = commit_table(store, snapshot, record, known.get(record.name), newest[record.name])
        states[record.name] = state
        on_progress(Progress("push", f"table {record.name}, version {state.version}"))
    return states


def _require_passed(store: RemoteStore, checks: Sequence[CheckRecord]) -> None:
    failed = [check for check in checks if not check.passed]
    if failed:
        raise RemoteError(
            f"{store.url} does not hold what was published",
            expected="objects and bytes as the manifest says, versions as current.json says",
            found="; ".join(f"{check.name}: {check.metadata}" for check in failed),
            fix="lei-exports push --check-all sends again what is missing or damaged",
        )


def _prune(settings: Settings, store: RemoteStore, record: RemoteRecord, now: datetime) -> CheckRecord:
    """Retention; the snapshot is published, so that it can't do its work is a warning."""
    try:
        return prune_remote(store, record, settings, now)
    except RemoteError as error:
        return OLD_SNAPSHOTS_REMOVED.result(passed=False, error=str(error))


def _tag(found: Versioned | None) -> str | None:
    return None if found is None else found.tag
