"""Published snapshots (DESIGN 4): find the current one, list all, scan and query one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl
from pydantic import ValidationError

from pipelines.contracts.records import Manifest, TableRecord
from pipelines.errors import SnapshotError
from pipelines.snapshots.duckdb_connections import CONFIG

CURRENT = "current"
SNAPSHOTS = "snapshots"
MANIFEST = "manifest.json"
DATABASE = "exports.duckdb"
_NUMBER = re.compile(rb'"sequence"\s*:\s*(\d{1,12})\b')


@dataclass(frozen=True)
class Snapshot:
    """One snapshot. Its folder is a real one, never the link `current`: what is read from it is of one instant."""

    folder: Path
    manifest: Manifest

    @property
    def database_path(self) -> Path:
        """The DuckDB file."""
        return self.folder / self.manifest.database.path

    @property
    def table_names(self) -> tuple[str, ...]:
        """Names of its tables, in the manifest's order."""
        return tuple(table.name for table in self.manifest.tables)

    def record_of(self, table_name: str) -> TableRecord:
        """What the manifest says of a table.

        Raises:
            SnapshotError: The snapshot has no such table.
        """
        for table in self.manifest.tables:
            if table.name == table_name:
                return table
        raise SnapshotError(
            f"Snapshot {self.manifest.id} has no table {table_name}",
            expected=f"one of {', '.join(self.table_names)}",
            fix="name one of its tables, or export again with this version",
        )

    def parquet_files(self, table_name: str) -> list[Path]:
        """Parquet files of a table in name order, as the manifest lists them: never a glob, which takes in strays.

        Raises:
            SnapshotError: The snapshot has no such table.
        """
        return [self.folder / file.path for file in sorted(self.record_of(table_name).files, key=lambda f: f.path)]

    def scan(self, table_name: str) -> pl.LazyFrame:
        """Rows of a table from its Parquet files, in its sort order.

        Raises:
            SnapshotError: The snapshot has no such table, or a file of it is gone.
        """
        files = self.parquet_files(table_name)
        for file in files:
            if not file.is_file():
                raise SnapshotError(
                    f"Snapshot {self.manifest.id} has lost {file.relative_to(self.folder)}",
                    fix="read another snapshot, or export again",
                )
        return pl.scan_parquet(files, glob=False, hive_partitioning=False)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Open its DuckDB file read-only; it blocks nobody, and keeps this snapshot while it is open.

        Several connections in one process share their cache.

        Raises:
            SnapshotError: The file is gone or DuckDB can't open it.
        """
        try:
            return duckdb.connect(str(self.database_path), read_only=True, config=CONFIG)
        except duckdb.Error as error:
            raise SnapshotError(
                f"{self.database_path} can't be opened",
                found=type(error).__name__,
                fix="check that no program holds it open for writing, verify the snapshot, or export again",
            ) from error


@dataclass(frozen=True)
class SnapshotListing:
    """What lies in the folder of snapshots.

    Attributes:
        snapshots: The readable ones, oldest first by sequence number.
        unreadable: Name of every other visible folder, and why it is not taken for a snapshot.
    """

    snapshots: tuple[Snapshot, ...]
    unreadable: dict[str, SnapshotError]


def load_manifest(folder: Path) -> Manifest:
    """Read a snapshot folder's manifest.

    Raises:
        SnapshotError: It is missing, unreadable or not a manifest; the message names the file.
    """
    path = folder / MANIFEST
    fix = "run the export again, it builds a new snapshot; a newer version of lei-exports may have written this one"
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SnapshotError(f"{path} can't be read", found=error.strerror or type(error).__name__, fix=fix) from error
    except ValidationError as error:
        places = sorted({".".join(map(str, e["loc"])) or "the whole file" for e in error.errors(include_input=False)})
        raise SnapshotError(
            f"{path} is not a valid manifest", found=f"{len(places)} wrong place(s), first {places[0]}", fix=fix
        ) from None


def load_snapshot(folder: Path) -> Snapshot:
    """The snapshot in a folder of `snapshots/`, whose name is its id.

    A snapshot that a person copied or renamed has a manifest that says another name. It is whole, and `current` may
    point at it; but by its id it would be looked for in a folder that may not be there. So it is left to that person.

    Raises:
        SnapshotError: As load_manifest; or the manifest is of a snapshot of another name.
    """
    manifest = load_manifest(folder)
    if manifest.id != folder.name:
        raise SnapshotError(
            f"{folder} is not taken for a snapshot: it is a copy of {manifest.id}, or that one renamed",
            expected="a folder with the name that is the id in its manifest",
            fix=f"to use it, name it {manifest.id}, where there is no such folder; nothing deletes it as it is",
        )
    return Snapshot(folder, manifest)


def read_number(folder: Path) -> int | None:
    """The sequence number in a snapshot folder's manifest, even where the rest of that file is damaged; None: none."""
    try:
        found = _NUMBER.search((folder / MANIFEST).read_bytes())
    except OSError:
        return None
    return int(found.group(1)) if found else None


def current_snapshot(export_dir: Path) -> Snapshot | None:
    """The snapshot that `current` points at, resolved once, so that a switch meanwhile is not noticed (DESIGN 4).

    Returns:
        The snapshot in its real folder, or None where nothing was published yet.

    Raises:
        SnapshotError: `current` is no link, dangles, or its manifest can't be read.
    """
    link = export_dir / CURRENT
    require_link(export_dir)
    with _reading(link):
        if not link.is_symlink():
            return None
    try:
        folder = link.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise SnapshotError(
            f"{link} points at a snapshot that is not there",
            fix="run the export again: it builds a new snapshot and points the link at it",
        ) from error
    return Snapshot(folder, load_manifest(folder))


def published_snapshot(export_dir: Path) -> Snapshot:
    """As `current_snapshot`, for what has nothing to do without it.

    Raises:
        SnapshotError: Nothing is published, or it can't be read.
    """
    snapshot = current_snapshot(export_dir)
    if snapshot is None:
        raise SnapshotError(
            "Nothing is published yet",
            expected=f"a snapshot in {export_dir}",
            fix="run `lei-exports run` (the job `export`), or set EXPORT_DIR to where one is",
        )
    return snapshot


def try_current(export_dir: Path) -> tuple[Snapshot | None, SnapshotError | None]:
    """As `current_snapshot`, for what goes on without it: the snapshot, or why it can't be read."""
    try:
        return current_snapshot(export_dir), None
    except SnapshotError as error:
        return None, error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Look at something in EXPORT_DIR.

    Raises:
        SnapshotError: The body raised OSError, such as that of a folder that this user may not search.
    """
    try:
        yield
    except OSError as error:
        raise SnapshotError(
            f"{path} can't be read",
            found=error.strerror or type(error).__name__,
            fix="let this user read EXPORT_DIR, see that its disk is there, or set EXPORT_DIR to another folder",
        ) from error


def require_link(export_dir: Path) -> None:
    """Refuse a `current` that is something else than a link: no switch could replace it.

    Raises:
        SnapshotError: It is a file or a folder, or can't be looked at.
    """
    link = export_dir / CURRENT
    with _reading(link):
        is_other = link.exists() and not link.is_symlink()
    if is_other:
        raise SnapshotError(f"{link} is not a link", expected="a symbolic link", fix="move it away")


def list_snapshots(export_dir: Path) -> SnapshotListing:
    """All snapshots on disk, whether or not they were ever current. Hidden folders are unfinished and left out.

    What else is there is left alone: a folder without a manifest, and one with another name than its manifest says.

    Raises:
        SnapshotError: The folder can't be read.
    """
    snapshots: list[Snapshot] = []
    unreadable: dict[str, SnapshotError] = {}
    with _reading(export_dir / SNAPSHOTS):
        parent = (export_dir / SNAPSHOTS).resolve()
        folders = [found for found in sorted(parent.iterdir()) if found.is_dir()] if parent.is_dir() else []
    for folder in folders:
        if folder.name.startswith("."):
            continue
        try:
            snapshots.append(load_snapshot(folder))
        except SnapshotError as error:
            unreadable[folder.name] = error
    return SnapshotListing(tuple(sorted(snapshots, key=lambda s: s.manifest.sequence)), unreadable)
