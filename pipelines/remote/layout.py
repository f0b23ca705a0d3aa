"""What lies where below the prefix, and the record of a snapshot there.

current.json                          the record of the current snapshot: the one conditional PUT
snapshots/<id>/snapshot.json          the same record, as long as the snapshot is kept
snapshots/<id>/manifest.json          as in the local snapshot; with exports.duckdb and report.html
<table>/<file>-<sha256>.parquet       data objects; a name holds its content's digest, so none is written twice
<table>/_delta_log/                   Delta's log of the table
"""

import re
from collections.abc import Iterator
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from pipelines.contracts.records import FileRecord, Manifest, Name
from pipelines.snapshots.opening import MANIFEST

CURRENT = "current.json"
SNAPSHOTS = "snapshots"
RECORD = "snapshot.json"
_DIGITS = 16
DATA_OBJECT = re.compile(rf"[^/]+-[0-9a-f]{{{_DIGITS}}}\.parquet")


class RemoteTable(BaseModel):
    """A table of a snapshot.

    Attributes:
        version: Version of the Delta table that holds the snapshot's rows.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int
    rows: int
    files: int
    bytes: int


class RemoteRecord(BaseModel):
    """current.json and snapshot.json: a snapshot, and the version of each Delta table that belongs to it.

    Attributes:
        instant: The instant of the source that all tables show, UTC.
        published_at: When it was published here, UTC.
        source: Identity of the source.
        files: Names of the files that belong to no table, in snapshots/<id>/.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    snapshot_id: Name
    sequence: int
    instant: datetime
    published_at: datetime
    source: str
    contract_version: str
    tables: dict[str, RemoteTable]
    files: tuple[str, ...]

    def content(self) -> bytes:
        """The record as it is stored."""
        return self.model_dump_json(indent=2).encode() + b"\n"


def object_name(file: FileRecord) -> str:
    """Where a Parquet file lies: `<table>/<file>-<16 digits of its sha256>.parquet`. Names sort like the files."""
    return f"{file.path.removesuffix('.parquet')}-{file.sha256[:_DIGITS]}.parquet"


def snapshot_object(snapshot_id: str, name: str) -> str:
    """Where a file of a snapshot lies that belongs to no table."""
    return f"{SNAPSHOTS}/{snapshot_id}/{name}"


def side_files(manifest: Manifest, names: tuple[str, ...] | None = None) -> Iterator[FileRecord]:
    """The files that belong to no table: exports.duckdb, report.html; only those of these names, if any are given."""
    yield from (f for f in (manifest.database, *manifest.extras) if names is None or f.path in names)


def record_of(manifest: Manifest, versions: dict[str, int], files: tuple[str, ...], at: datetime) -> RemoteRecord:
    """The record of a snapshot."""
    return RemoteRecord(
        snapshot_id=manifest.id,
        sequence=manifest.sequence,
        instant=manifest.source.snapshot_at,
        published_at=at,
        source=manifest.source.identity,
        contract_version=manifest.contract_version,
        tables={
            table.name: RemoteTable(
                version=versions[table.name],
                rows=table.rows,
                files=len(table.files),
                bytes=sum(file.bytes for file in table.files),
            )
            for table in manifest.tables
        },
        files=(MANIFEST, *files),
    )
