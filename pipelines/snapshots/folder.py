"""The content of a new snapshot folder besides exports.duckdb: Parquet files by link, other files, the manifest."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.contracts.records import CheckRecord, FileRecord, Manifest, TableRecord
from pipelines.errors import PublishError
from pipelines.snapshots.opening import MANIFEST, Snapshot
from pipelines.system.files import PUBLISHED_MODE, Digests, link_or_copy, seal_file, sync_folder, write_atomically

_LINKING_THREADS = 4


def link_tables(  # noqa: PLR0913, PLR0917 - from where to where, and where damage is reported
    folder: Path,
    snapshot_id: str,
    built: Sequence[TableRecord],
    tables_dir: Path,
    before: Snapshot | None,
    digests: Digests,
    *,
    log: Callable[[str], None] = lambda _: None,
) -> tuple[TableRecord, ...]:
    """Give every built file a name in the folder; an unchanged one is the published file itself.

    The digest of every file is compared, and a snapshot never hands damage on. 430 MB take 0.3 s where the run has not
    computed it yet.

    Args:
        tables_dir: Where the paths of the built files begin.
        before: The snapshot whose files are reused where they are the same.
        log: Gets a message of published files that are damaged.

    Returns:
        The records with `first_snapshot` filled in.

    Raises:
        PublishError: A built file is missing or not what its record says.
        OSError: A link or a copy failed.
    """
    for table in built:
        (folder / table.name).mkdir()
    files = [file for table in built for file in table.files]
    published = {} if before is None else {f.path: f for table in before.manifest.tables for f in table.files}

    def link(file: FileRecord) -> FileRecord:
        target = folder / file.path
        old = published.get(file.path)
        if before is not None and old is not None and old.sha256 == file.sha256:
            if _reuse(before.folder / file.path, target, file, digests):
                return file.model_copy(update={"first_snapshot": old.first_snapshot})
            log(f"{file.path} of snapshot {before.manifest.id} is missing or damaged: the built one replaces it")
        _link_built(tables_dir / file.path, target, file, digests)
        return file.model_copy(update={"first_snapshot": snapshot_id})

    with ThreadPoolExecutor(max_workers=_LINKING_THREADS) as pool:
        linked = {file.path: file for file in pool.map(link, files)}
    for table in built:
        sync_folder(folder / table.name)
    return tuple(t.model_copy(update={"files": tuple(linked[file.path] for file in t.files)}) for t in built)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, last of all files: a folder without it is no snapshot.

    Raises:
        OSError: It could not be written.
    """
    path = folder / MANIFEST
    write_atomically(path, manifest.model_dump_json(indent=2).encode() + b"\n")
    seal_file(path)


def _reuse(source: Path, target: Path, file: FileRecord, digests: Digests) -> bool:
    """Link a published file if it still is what was published: it can have been damaged since."""
    if not source.is_file():
        return False
    is_link = link_or_copy(source, target)
    if digests.of(target) != file.sha256:
        target.unlink()
        return False
    if not is_link or target.stat().st_mode & 0o777 != PUBLISHED_MODE:
        seal_file(target)
    return True


def _link_built(source: Path, target: Path, file: FileRecord, digests: Digests) -> None:
    fix = (
        "build the table again: run the job `export`; if the published file is damaged too, read everything again:"
        " lei-exports run --full-refresh"
    )
    if not source.is_file():
        raise PublishError(f"The built file {file.path} is missing", expected=str(source), fix=fix)
    link_or_copy(source, target)
    if target.stat().st_size != file.bytes or digests.of(target) != file.sha256:
        raise PublishError(
            f"The built file {file.path} is not what was written",
            expected=f"{file.bytes} bytes with the sha256 of its record",
            found=f"{target.stat().st_size} bytes, other content",
            fix=fix,
        )
    seal_file(target)


@dataclass(frozen=True)
class SideFiles:
    """Files next to the data.

    Attributes:
        files: Their content by name; they lie directly in the snapshot's folder.
        checks: What is to be said of them; they only warn, because the data is right by now.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    checks: Sequence[CheckRecord] = ()


MakeExtras = Callable[[Snapshot, Snapshot | None], SideFiles]
"""Takes the verified new snapshot (its manifest as known by then) and the newest one before it."""


def no_extras(_: Snapshot, __: Snapshot | None) -> SideFiles:
    """No file next to the data."""
    return SideFiles()


def write_extras(folder: Path, snapshot_id: str, files: Mapping[str, bytes]) -> tuple[FileRecord, ...]:
    """Write files to the folder of a new snapshot, synced and read-only.

    Returns:
        Their records, in name order.

    Raises:
        OSError: The disk refused, or the snapshot has a file of that name.
    """
    records = []
    for name, content in sorted(files.items()):
        path = folder / name
        with path.open("xb") as file:
            file.write(content)
        seal_file(path)
        records.append(
            FileRecord(
                path=name,
                segment=None,
                rows=0,
                bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                first_snapshot=snapshot_id,
            )
        )
    return tuple(records)
