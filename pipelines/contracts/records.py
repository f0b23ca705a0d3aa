"""What a run writes down about itself: the JSON records of staging and of a published snapshot (DESIGN 3, 4)."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from pipelines.contracts.segments import Segmentation

# Identity of the embedded PostgreSQL, whatever it is filled with.
SAMPLE_IDENTITY = "sample"
# The stage of a run in which its report is drawn.
DRAWING_STAGE = "publish_extras"
# A record may come from object storage, where others write: what it names lies in the folder that it is about.
_NAME = r"[^/\\.\x00][^/\\\x00]*"
Name = Annotated[str, StringConstraints(pattern=rf"^{_NAME}$")]
RelativePath = Annotated[str, StringConstraints(pattern=rf"^{_NAME}(/{_NAME})*$")]


class _Record(BaseModel):
    # What another version wrote besides is no damage: its snapshots can be read, listed and rolled back to.
    model_config = ConfigDict(frozen=True, extra="ignore")


class RelationRecord(_Record):
    """A source table as it stood.

    Attributes:
        columns: Name and type of every column of the table, in order, known to us or not.
        absent: Known columns that the source lacks; published as NULL.
        unknown: Columns of the source that are not known; left out.
        rows: count(*) in the snapshot.
    """

    columns: tuple[tuple[str, str], ...]
    absent: tuple[str, ...]
    unknown: tuple[str, ...]
    rows: int


class SourceRecord(_Record):
    """Which database was read, and at which instant.

    Attributes:
        identity: `sample` for the embedded server, else `<system identifier>/<database>/<schema>` (DESIGN 4).
        address: Host and port of DATABASE_URL, `<host>:<port>`; of several hosts all, as they stand there. Empty for
            the embedded server, and in snapshots of earlier versions.
        server_version: As PostgreSQL says it, such as `18.4`.
        wal_position: WAL position when the snapshot was taken.
        snapshot_at: The snapshot's instant, UTC, by the server's clock.
        relations: Per source table.
    """

    identity: str
    address: str = ""
    server_version: str
    wal_position: str
    snapshot_at: datetime
    relations: dict[str, RelationRecord]

    @property
    def description(self) -> str:
        """The database in words: its name, host and port, and schema; of earlier versions' snapshots no host."""
        system, _, rest = self.identity.partition("/")
        database, _, schema = rest.rpartition("/")
        if self.identity == SAMPLE_IDENTITY or not database:
            return f"{self.identity} (embedded)"
        return f"database {database} at {self.address or f'cluster {system}'}, schema {schema}"


class SegmentRecord(_Record):
    """A segment of staging: rows of both tables whose domain id lies in one range.

    Attributes:
        segment: Its number (contracts/segments.py); None for candidates whose domain_id is NULL.
        rows: Rows per source table.
    """

    segment: int | None
    rows: dict[str, int]


class Fingerprint(_Record):
    """Fingerprint of a source table's rows in one segment: equal fingerprints, equal rows (source/fingerprint.py).

    Attributes:
        digest: Sum over the rows of a hash of what is read of each; as text, because it exceeds 64 bits.
    """

    rows: int
    digest: str


Fingerprints = dict[str, dict[str, Fingerprint]]
"""Fingerprints by source table and segment name (segments.segment_name; `all`: rows without domain id)."""


class StagingRecord(_Record):
    """A complete staging. It is written last: a staging without it is not complete.

    Attributes:
        staging_id: Its id, also the id of the snapshot that is published from it.
        segment_numbers: Numbers of all segments, ascending.
        segments: Those that were read, in segment order, None last. With a base snapshot these are the changed ones;
            one whose rows are gone has no rows.
        accept_new_source: The operator accepts another source than the published one (DESIGN 4).
        accept_shrink: The operator accepts a source that shrank (DESIGN 4), in rows or in known columns.
        nulled_values: Values published as NULL because no format can carry them, `<table>.<column>` to count; of the
            segments that were read.
        base_snapshot: Id of the published snapshot that unchanged segments are taken from; None: all were read.
        lost_columns: Known columns, by source table, that held values when the source last had them (`Manifest`).
    """

    staging_id: str
    source: SourceRecord
    segment_size: int
    segment_numbers: tuple[int, ...] = (0,)
    include_full_data: bool
    segments: tuple[SegmentRecord, ...]
    accept_new_source: bool = False
    accept_shrink: bool = False
    nulled_values: dict[str, int]
    timings_s: dict[str, float]
    base_snapshot: str | None = None
    fingerprints: Fingerprints = {}
    lost_columns: dict[str, tuple[str, ...]] = {}

    @property
    def segmentation(self) -> Segmentation:
        """How the domain ids are cut into segments."""
        return Segmentation(self.segment_size, self.segment_numbers)


class FileRecord(_Record):
    """A published file.

    Attributes:
        path: Relative to the snapshot folder (or to the staging's `tables` folder), with `/`.
        segment: Its segment, or of a table in key ranges (`Table.range_key`) the range; None for a file of neither.
        rows: Rows in it; of the DuckDB file, rows of all tables.
        sha256: Of its content, lower-case hex.
        first_snapshot: Id of the snapshot that first had this very file; None while it is only staged.
    """

    path: RelativePath
    segment: int | None
    rows: int
    bytes: int
    sha256: str
    first_snapshot: str | None = None


class CheckRecord(_Record):
    """A check and what came of it.

    Attributes:
        table: Table (or source table, or `snapshot`) that it is about.
        name: Its name, unique within the table.
        severity: `error` blocks the switch, `warn` does not.
        metadata: What decided the result: counts and ids only.
        rows: Rows of the table that the result stands for, also those that an earlier run checked; None: it is not
            about the rows of a published table, or an earlier version wrote it.
        found_by: Id of the snapshot whose run found it; None: the run that wrote this record.
    """

    table: str
    name: str
    passed: bool
    severity: Literal["error", "warn"]
    metadata: dict[str, Any]
    rows: int | None = None
    found_by: str | None = None


class TableRecord(_Record):
    """A built table.

    Attributes:
        files: Its Parquet files, in name order.
        cuts: Of a table in key ranges: the lowest key of every range but the first.
        findings: What the checks of its content found, by segment name: a later run that takes a segment over needs it.
    """

    name: Name
    staging_id: str
    contract_version: str
    rows: int
    files: tuple[FileRecord, ...]
    cuts: tuple[str, ...] = ()
    checks: tuple[CheckRecord, ...]
    timings_s: dict[str, float]
    findings: dict[str, dict[str, Any]] = {}


class Manifest(_Record):
    """manifest.json of a snapshot (DESIGN 4).

    Attributes:
        id: Id of the snapshot, `<UTC time>-<8 hex digits>`.
        sequence: Sequence number, previous + 1: the order of snapshots, whatever the clock says.
        created_at: When it was built, UTC.
        source: Which database it is a copy of, and of which instant.
        segment_numbers: Numbers of all segments, ascending; the next run keeps them.
        database: exports.duckdb.
        checks: Checks of the whole snapshot; those of a table are in its record.
        versions: Versions of this project and of the libraries that wrote the files.
        base_snapshot: Id of the snapshot whose unchanged segments it took over; None: everything was read.
        changed_segments: Names of the segments that were read, where there is a base.
        fingerprints: Fingerprints of the source's segments, for the next run.
        rebuilt_database_bytes: Size of exports.duckdb when it was last built again.
        extras: Files next to the data, such as report.html; none in snapshots of earlier versions.
        lost_columns: Known columns, by source table, that are gone from the source and held values in an earlier
            snapshot; kept until they are back, or an operator accepts it.
    """

    id: Name
    sequence: int
    created_at: datetime
    contract_version: str
    source: SourceRecord
    segment_size: int
    segment_numbers: tuple[int, ...] = (0,)
    include_full_data: bool
    tables: tuple[TableRecord, ...]
    database: FileRecord
    checks: tuple[CheckRecord, ...]
    versions: dict[str, str]
    timings_s: dict[str, float]
    base_snapshot: str | None = None
    changed_segments: tuple[str, ...] = ()
    fingerprints: Fingerprints = {}
    rebuilt_database_bytes: int = 0
    extras: tuple[FileRecord, ...] = ()
    lost_columns: dict[str, tuple[str, ...]] = {}

    @property
    def segmentation(self) -> Segmentation:
        """How the domain ids are cut into segments."""
        return Segmentation(self.segment_size, self.segment_numbers)

    @property
    def work_s(self) -> float:
        """How long it took to read, build and verify it, seconds. The report shows it, and can't hold its own time."""
        return sum(s for stage, s in self.timings_s.items() if stage != DRAWING_STAGE and s >= 0)

    @property
    def bytes(self) -> int:
        """Size of all files but the manifest."""
        files = (self.database, *self.extras, *(file for table in self.tables for file in table.files))
        return sum(file.bytes for file in files)
