"""A Kit that stages and publishes rows of rows.py without PostgreSQL or Dagster; subprocesses of tests import it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from pipelines.contracts.records import (
    CheckRecord,
    Manifest,
    RelationRecord,
    SegmentRecord,
    SourceRecord,
    StagingRecord,
    TableRecord,
)
from pipelines.contracts.segments import segment_name
from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.snapshots.assembly import SnapshotInputs
from pipelines.snapshots.lookup import newest_snapshot
from pipelines.snapshots.opening import Snapshot, published_snapshot
from pipelines.snapshots.parquet import write_parquet
from pipelines.snapshots.publishing import publish_snapshot, record_unchanged
from pipelines.snapshots.verification import verify_snapshot
from pipelines.system.run_lock import hold_run_lock
from tests.publish.rows import TABLES, candidate_rows, domain_rows, rejected_rows

SEGMENT_SIZE = 100
ROOT = Path(__file__).parents[2]
BEGIN = datetime(2026, 11, 23, 6, 59, 32, tzinfo=UTC)
# Segments of the snapshot that the fixture `base` has.
BEFORE: dict[int, Any] = {-1: [-7, -2], 0: range(5), 1: range(100, 110), 3: [300]}
FAR_AWAY = 100_000_000  # a file of few rows grows by whole blocks, over the limit at once


def staging_record(staging_id: str, identity: str = "sample", **values: Any) -> StagingRecord:
    relation = RelationRecord(columns=(("id", "integer"),), absent=(), unknown=(), rows=100)
    fields: dict[str, Any] = {
        "staging_id": staging_id,
        "source": SourceRecord(
            identity=identity,
            server_version="18.4",
            wal_position="0/1",
            snapshot_at=BEGIN,
            relations={"domains": relation, "gleif_candidates": relation},
        ),
        "segment_size": SEGMENT_SIZE,
        "segment_numbers": tuple(range(-100, 1000)),
        "include_full_data": False,
        "segments": (SegmentRecord(segment=0, rows={"domains": 100, "gleif_candidates": 200}),),
        "nulled_values": {},
        "timings_s": {"read": 1.0},
        **values,
    }
    return StagingRecord(**fields)


def check_record(name: str = "row_count", *, passed: bool = True, severity: Any = "error") -> CheckRecord:
    return CheckRecord(table="domain_exports", name=name, passed=passed, severity=severity, metadata={})


def new_id(number: int) -> str:
    """Ids in the order of their numbers, an hour apart."""
    return f"{BEGIN + timedelta(hours=number):%Y%m%dT%H%M%SZ}-{number:08x}"


def at(hours: float) -> Callable[[], datetime]:
    """A clock that stands so many hours after the beginning."""
    return lambda: BEGIN + timedelta(hours=hours)


@dataclass
class Kit:
    """An export folder and what is published to it."""

    root: Path
    clock: list[datetime] = field(default_factory=lambda: [BEGIN])

    @property
    def export_dir(self) -> Path:
        return self.root / "exports"

    def tables_dir(self, staging_id: str) -> Path:
        return self.export_dir / "staging" / staging_id / "tables"

    def build(
        self,
        staging_id: str,
        segments: dict[int, Sequence[int]],
        rejected: int = 2,
        values: dict[int, dict[str, Any]] | None = None,
    ) -> tuple[TableRecord, ...]:
        """Write the Parquet files of a staging: per segment domains and their candidates; `values` by segment."""
        values, segments = values or {}, dict(sorted(segments.items()))
        frames: dict[str, dict[int | None, pl.DataFrame]] = {
            "domain_exports": {n: domain_rows(ids, **values.get(n, {})) for n, ids in segments.items()},
            "candidate_exports": {number: candidate_rows(ids) for number, ids in segments.items()},
            "rejected_rows": {None: rejected_rows(rejected)},
        }
        return self.write(staging_id, frames)

    def write(
        self, staging_id: str, frames: dict[str, dict[int | None, pl.DataFrame]], **values: Any
    ) -> tuple[TableRecord, ...]:
        records = []
        for table in TABLES:
            files = tuple(
                write_parquet(
                    frame,
                    self.tables_dir(staging_id) / table.name / f"{segment_name(number)}.parquet",
                    table=table,
                    segment=number,
                )
                for number, frame in frames.get(table.name, {None: table.schema.create_empty()}).items()
            )
            fields: dict[str, Any] = {
                "name": table.name,
                "staging_id": staging_id,
                "contract_version": CONTRACT_VERSION,
                "rows": sum(file.rows for file in files),
                "files": files,
                "checks": (check_record(),),
                "timings_s": {},
                **values,
            }
            records.append(TableRecord(**fields))
        return tuple(records)

    def publish(
        self,
        number: float,
        segments: dict[int, Sequence[int]] | None = None,
        *,
        built: Sequence[TableRecord] | None = None,
        staging: StagingRecord | None = None,
        **options: Any,
    ) -> Manifest:
        """Stage and publish; the clock is `number` hours after the beginning."""
        staging = staging or staging_record(new_id(int(number)))
        if built is None:
            built = self.build(staging.staging_id, segments or {0: range(1, 6), 1: range(100, 104)})
        self.clock[0] = BEGIN + timedelta(hours=number)
        arguments: dict[str, Any] = {
            "export_dir": self.export_dir,
            "staging": staging,
            "tables": TABLES,
            "built": built,
            "tables_dir": self.tables_dir(staging.staging_id),
            "keep_snapshots": 5,
            "keep_hours": 24,
            "timings": {"read": 1.0},
            "now": self._now,
            "in_process": True,
            "lock_wait_seconds": 20,
            **options,
        }
        with hold_run_lock(self.export_dir, wait_seconds=20) as lock:
            made_of = {
                field.name: arguments.pop(field.name) for field in fields(SnapshotInputs) if field.name in arguments
            }
            return publish_snapshot(SnapshotInputs(**made_of), lock=lock, **arguments)

    def look(self, hours: float, **options: Any) -> Snapshot | None:
        """A run that finds the source unchanged, so many hours after the beginning."""
        with hold_run_lock(self.export_dir, wait_seconds=20) as lock:
            return record_unchanged(self.export_dir, lock, now=at(hours), **options)

    def publish_changes(
        self,
        number: int,
        segments: dict[int, Sequence[int]],
        rejected: int = 2,
        values: dict[int, dict[str, Any]] | None = None,
        *,
        linked: bool = True,
        **options: Any,
    ) -> Manifest:
        """Publish on top of the newest snapshot, as a run does that reads only what changed."""
        return self.publish(number, **self.stage_changes(number, segments, rejected, values, linked=linked), **options)

    def stage_changes(
        self,
        number: int,
        segments: dict[int, Sequence[int]],
        rejected: int = 2,
        values: dict[int, dict[str, Any]] | None = None,
        *,
        linked: bool = True,
    ) -> dict[str, Any]:
        """A staging on top of the newest snapshot and its tables; files that are the same are linked."""
        base = newest_snapshot(self.export_dir)
        assert base is not None
        built = self.build(new_id(number), segments, rejected, values)
        before = {file.path: file for table in base.manifest.tables for file in table.files}
        changed = set()
        for file in (file for table in built for file in table.files):
            same = file.path in before and before[file.path].sha256 == file.sha256
            path = self.tables_dir(new_id(number)) / file.path
            if same and linked:
                path.unlink()
                path.hardlink_to(base.folder / file.path)
            elif not same and file.segment is not None:
                changed.add(file.segment)
        staging = staging_record(
            new_id(number),
            base_snapshot=base.manifest.id,
            segments=tuple(SegmentRecord(segment=segment, rows={}) for segment in sorted(changed)),
        )
        return {"built": built, "staging": staging}

    def edit_manifest(self, **changes: Any) -> None:
        """Change what the current snapshot says of itself."""
        snapshot = self.current()
        text = snapshot.manifest.model_copy(update=changes).model_dump_json()
        overwrite(snapshot.folder / "manifest.json", lambda content: content.__setitem__(slice(None), text.encode()))

    def current(self) -> Snapshot:
        return published_snapshot(self.export_dir)

    def copy_to(self, root: Path) -> "Kit":
        """The same export folder in another place, links between files not kept: faster than publishing again."""
        shutil.copytree(self.export_dir, root / self.export_dir.name, symlinks=True)
        return Kit(root)

    def _now(self) -> datetime:
        return self.clock[0]


class Said(list[str]):
    """What a run says while it goes on."""

    def __call__(self, progress: Any) -> None:
        self.append(progress.what)

    @property
    def why_anew(self) -> str:
        return "".join(what for what in self if "built again" in what)


def in_duckdb(query: str, database: Path | None = None) -> pl.DataFrame:
    """The answer of a connection of its own, closed afterwards."""
    with duckdb.connect(str(database or ":memory:"), read_only=database is not None) as connection:
        return connection.sql(query).pl()


def start_process(script: str, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def overwrite(path: Path, change: Callable[[bytearray], None]) -> None:
    """Change a published file in place, as a bad disk would: same size, same name, 0444 or not."""
    content = bytearray(path.read_bytes())
    change(content)
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o444)


def flip_a_byte(path: Path, position: float = 0.5) -> None:
    def flip(content: bytearray) -> None:
        content[int(len(content) * position)] ^= 0xFF

    overwrite(path, flip)


def assert_untouched(kit: Kit) -> None:
    """Assert that the first snapshot is still the current and only one, and whole."""
    assert kit.current().manifest.id == new_id(1)
    assert sorted(p.name for p in (kit.export_dir / "snapshots").iterdir()) == [new_id(1)]
    verify_snapshot(kit.current())
