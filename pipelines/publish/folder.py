"""The content of a new snapshot folder: Parquet files by link, exports.duckdb, the manifest (DESIGN 4).

Belongs here: filling a folder that nobody sees yet. Does not: its name, the lock, the switch (snapshots.py).
"""

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipelines.contracts.records import FileRecord, Manifest, TableRecord
from pipelines.contracts.tables import Table
from pipelines.errors import PublishError
from pipelines.publish.database import WriterOptions, build_database
from pipelines.publish.database_worker import STORAGE_VERSION
from pipelines.publish.files import PUBLISHED_MODE, link_or_copy, sync_file, sync_folder, write_atomically
from pipelines.reading.digests import sha256_of
from pipelines.reading.snapshots import DATABASE, MANIFEST, Snapshot

_PACKAGES = ("lei-exports", "polars", "duckdb", "pyarrow")
_LINKING_THREADS = 4


def link_tables(
    folder: Path, snapshot_id: str, built: Sequence[TableRecord], tables_dir: Path, published: Snapshot | None
) -> tuple[TableRecord, ...]:
    """Give every built file a name in the folder; an unchanged one is the published file itself.

    Args:
        folder: The new snapshot's folder.
        snapshot_id: Its id, the first snapshot of files that are new.
        built: The tables.
        tables_dir: Where the paths of their files begin.
        published: The current snapshot.

    Returns:
        The records with `first_snapshot` filled in.

    Raises:
        PublishError: A built file is missing or not what its record says.
        OSError: A link or a copy failed.
    """
    for table in built:
        (folder / table.name).mkdir()
    files = [file for table in built for file in table.files]
    before = {} if published is None else {f.path: f for table in published.manifest.tables for f in table.files}

    def link(file: FileRecord) -> FileRecord:
        target = folder / file.path
        old = before.get(file.path)
        if published is not None and old is not None and old.sha256 == file.sha256:
            source = published.folder / file.path
            # A published file can have been damaged since: only what still has its digest is taken over.
            if source.is_file() and link_or_copy(source, target) is not None and sha256_of(target) == file.sha256:
                _finish(target)
                return file.model_copy(update={"first_snapshot": old.first_snapshot})
            target.unlink(missing_ok=True)
        _link_built(tables_dir / file.path, target, file)
        _finish(target)
        return file.model_copy(update={"first_snapshot": snapshot_id})

    with ThreadPoolExecutor(max_workers=_LINKING_THREADS) as pool:
        linked = {file.path: file for file in pool.map(link, files)}
    for table in built:
        sync_folder(folder / table.name)
    return tuple(t.model_copy(update={"files": tuple(linked[file.path] for file in t.files)}) for t in built)


def add_database(
    folder: Path,
    tables: Sequence[Table],
    records: Sequence[TableRecord],
    options: WriterOptions,
) -> FileRecord:
    """Build exports.duckdb from the folder's Parquet files: always a new file, never a link.

    Args:
        folder: The new snapshot's folder, its Parquet files complete.
        tables: The tables.
        records: What was built of each.
        options: How the writer's process runs.

    Returns:
        What the manifest says of the file, without its first snapshot.

    Raises:
        PublishError: It could not be built.
        OSError: It could not be synced.
    """
    database = folder / DATABASE
    files: Mapping[str, list[Path]] = {table.name: [folder / f.path for f in table.files] for table in records}
    rows = build_database(database, tables, files, options)
    _finish(database)
    return FileRecord(
        path=DATABASE,
        segment=None,
        rows=sum(rows.values()),
        bytes=database.stat().st_size,
        sha256=sha256_of(database),
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, last of all files: a folder without it is no snapshot.

    Raises:
        OSError: It could not be written.
    """
    path = folder / MANIFEST
    write_atomically(path, manifest.model_dump_json(indent=2).encode() + b"\n")
    _finish(path)


def library_versions() -> dict[str, str]:
    """Versions of what wrote the files."""
    versions = {"python": platform.python_version(), "duckdb_storage": STORAGE_VERSION}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
            versions[package] = "not installed"
    return versions


def _link_built(source: Path, target: Path, file: FileRecord) -> None:
    fix = "build the table again: run the job `export`"
    if not source.is_file():
        raise PublishError(f"The built file {file.path} is missing", expected=str(source), fix=fix)
    link_or_copy(source, target)
    if target.stat().st_size != file.bytes or sha256_of(target) != file.sha256:
        raise PublishError(
            f"The built file {file.path} is not what was written",
            expected=f"{file.bytes} bytes with the sha256 of its record",
            found=f"{target.stat().st_size} bytes, other content",
            fix=fix,
        )


def _finish(path: Path) -> None:
    path.chmod(PUBLISHED_MODE)
    sync_file(path)
