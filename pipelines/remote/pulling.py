"""Brings a snapshot from object storage into an export folder: readers and `serve` find it as if built there."""

import shutil
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from pipelines.contracts.records import FileRecord, Manifest
from pipelines.contracts.tables import published_tables
from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.contracts.views import SnapshotInfo
from pipelines.errors import RemoteError
from pipelines.progress import OnProgress, Progress, ignore_progress
from pipelines.remote.layout import object_name, side_files, snapshot_object
from pipelines.remote.reading import RemoteSnapshot
from pipelines.settings import Settings
from pipelines.snapshots.database import WriterOptions, build_database
from pipelines.snapshots.folder import write_manifest
from pipelines.snapshots.history import read_hold
from pipelines.snapshots.opening import MANIFEST, SNAPSHOTS, Snapshot, load_snapshot, try_current
from pipelines.snapshots.retention import prune_snapshots
from pipelines.snapshots.switch import (
    LOCK_WAIT_SECONDS,
    building_folder,
    hold_publish_lock,
    promote,
    remove_leftovers,
    switch_to,
)
from pipelines.snapshots.verification import check_snapshot, raise_failed
from pipelines.system.files import link_or_copy, seal_file, sha256_of, sync_folder, write_failure
from pipelines.system.run_lock import RunLock


def pull_snapshot(
    settings: Settings,
    lock: RunLock,
    remote: RemoteSnapshot,
    *,
    now: Callable[[], datetime],
    on_progress: OnProgress = ignore_progress,
) -> Snapshot:
    """Bring a snapshot into EXPORT_DIR and verify it; it becomes current there, unless a newer one is, or a rollback.

    Files that an older local snapshot has are linked, not read again.

    Args:
        settings: The settings; retention of local snapshots applies where it became current.

    Raises:
        RemoteError: The store failed, or an object is damaged.
        SnapshotError: The snapshot does not verify.
        BusyError: A run or a command still switches or deletes snapshots.
        PublishError: The disk refused.
    """
    export_dir, manifest = settings.export_dir, remote.manifest()
    target = export_dir / SNAPSHOTS / manifest.id
    try:
        (export_dir / SNAPSHOTS).mkdir(parents=True, exist_ok=True)
        with hold_publish_lock(export_dir, LOCK_WAIT_SECONDS):
            remove_leftovers(export_dir, lock)
        if not target.exists():
            building = building_folder(export_dir, manifest.id, lock.owner)
            try:
                building.mkdir()
                _fetch(remote, manifest, building, try_current(export_dir)[0], on_progress)
                if manifest.database.path not in remote.record.files:
                    manifest = _build_database(settings, lock, remote, manifest, building)
                checks = check_snapshot(Snapshot(building, manifest), memory_mb=settings.database_memory_mb * 3 // 2)
                raise_failed(checks, f"Snapshot {manifest.id} of {remote.store.url} is damaged")
                lock.require_held()
                promote(building, manifest.id)
            finally:
                shutil.rmtree(building, ignore_errors=True)
            sync_folder(target.parent)
        snapshot = load_snapshot(target)
        with hold_publish_lock(export_dir, LOCK_WAIT_SECONDS) as publish_lock:
            publish_lock.require_held()
            current, _ = try_current(export_dir)
            is_newer = current is None or current.manifest.sequence < manifest.sequence
            if is_newer and read_hold(export_dir) is None:
                switch_to(export_dir, snapshot, "pulled", now())
                # An older one was brought back for a rollback: it stays until the next snapshot is published.
                prune_snapshots(export_dir, settings.keep_snapshots, settings.keep_hours, now())
    except OSError as error:
        raise write_failure(f"Snapshot {manifest.id} could not be written to {export_dir}", error) from error
    return snapshot


def _fetch(
    remote: RemoteSnapshot, manifest: Manifest, folder: Path, before: Snapshot | None, on_progress: OnProgress
) -> None:
    files = [(object_name(file), file) for table in manifest.tables for file in table.files]
    files += [(snapshot_object(manifest.id, f.path), f) for f in side_files(manifest, remote.record.files)]
    local = (
        {} if before is None else {f.sha256: before.folder / f.path for t in before.manifest.tables for f in t.files}
    )
    for table in manifest.tables:
        (folder / table.name).mkdir()
    done, total = 0, sum(file.bytes for _, file in files)
    for name, file in files:
        same = local.get(file.sha256)
        if same is not None and same.is_file() and sha256_of(same) == file.sha256:
            link_or_copy(same, folder / file.path)
        else:
            _fetch_file(remote, name, file, folder / file.path)
        done += file.bytes
        on_progress(Progress("pull", file.path, done, total))
    content = remote.store.read(snapshot_object(manifest.id, MANIFEST))
    _write(folder / MANIFEST, [] if content is None else [content.content])
    for table in manifest.tables:
        sync_folder(folder / table.name)
    sync_folder(folder)


def _build_database(
    settings: Settings, lock: RunLock, remote: RemoteSnapshot, manifest: Manifest, folder: Path
) -> Manifest:
    """Build exports.duckdb from the Parquet files, as a run does, where it was not published (PUBLISH_DATABASE=false).

    Returns:
        The manifest, written to the folder: with this file, and without others that were not published.
    """
    if manifest.contract_version != CONTRACT_VERSION:
        raise RemoteError(
            f"Snapshot {manifest.id} of {remote.store.url} has no {manifest.database.path}",
            expected=f"contract {CONTRACT_VERSION}, of which this version can build it",
            found=f"contract {manifest.contract_version}",
            fix="pull with the version of lei-exports that published it",
        )
    path = folder / manifest.database.path
    rows = build_database(
        path,
        published_tables(include_full_data=manifest.include_full_data),
        {table.name: [folder / file.path for file in table.files] for table in manifest.tables},
        WriterOptions(settings.database_memory_mb, keep_open=(lock.descriptor,)),
        info=SnapshotInfo.of(manifest),
    )
    seal_file(path)
    size = path.stat().st_size
    changes = {"rows": sum(rows.values()), "bytes": size, "sha256": sha256_of(path)}
    built = manifest.model_copy(
        update={
            "database": manifest.database.model_copy(update=changes),
            "rebuilt_database_bytes": size,
            "extras": tuple(file for file in manifest.extras if file.path in remote.record.files),
        }
    )
    (folder / MANIFEST).unlink()
    write_manifest(folder, built)
    return built


def _fetch_file(remote: RemoteSnapshot, name: str, file: FileRecord, target: Path) -> None:
    _write(target, remote.store.chunks(name, file.bytes))
    if sha256_of(target) != file.sha256:
        raise RemoteError(
            f"{name} of {remote.store.url} is damaged",
            expected=f"the sha256 of {file.path} in the manifest of snapshot {remote.record.snapshot_id}",
            fix="let the publisher send it again: lei-exports push --check-all",
        )


def _write(target: Path, parts: Iterable[bytes]) -> None:
    with target.open("xb") as file:
        for part in parts:
            file.write(part)
    seal_file(target)
