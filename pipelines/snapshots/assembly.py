"""From built tables to a complete, verified snapshot folder that nobody sees yet (DESIGN 3.7)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipelines.contracts.records import DRAWING_STAGE, CheckRecord, Manifest, StagingRecord, TableRecord
from pipelines.contracts.segments import segment_name
from pipelines.contracts.tables import Table
from pipelines.contracts.version import CONTRACT_VERSION, library_versions
from pipelines.contracts.views import SnapshotInfo
from pipelines.errors import PublishError, SnapshotError
from pipelines.progress import OnProgress, Progress, ignore_progress
from pipelines.snapshots.database import DEFAULT_MEMORY_MB, WriterOptions
from pipelines.snapshots.database_patch import WrittenDatabase, add_database
from pipelines.snapshots.folder import (
    MakeExtras,
    link_tables,
    no_extras,
    write_extras,
    write_manifest,
)
from pipelines.snapshots.opening import Snapshot
from pipelines.snapshots.verification import (
    compare_duckdb_and_parquet,
    describe_check,
    failed_checks,
    lacks_memory,
    raise_failed,
)
from pipelines.system.files import sync_folder
from pipelines.system.run_lock import RunLock


@dataclass(frozen=True)
class SnapshotInputs:
    """What a snapshot is made of.

    Attributes:
        staging: What was read. With a base snapshot, exports.duckdb is a changed copy of the base's where that will do.
        tables: The tables to publish.
        built: What was built of each: all files, those of unchanged segments too.
        tables_dir: Where the paths of the built files begin; on the same file system they are linked, not copied.
        timings: Seconds per stage of the run so far.
        now: The clock, UTC.
        checks: Checks of the run as a whole (such as guards.check_shrink): recorded, and a failed one blocks.
        on_progress: Gets a message after each step.
        memory_mb: DuckDB's memory while exports.duckdb is written, MB; half as much more to verify it.
        extras: Makes files next to the data, once that is verified; what it raises stops the run.
        in_process: Write exports.duckdb in this process: for tests that are not about the process.
    """

    staging: StagingRecord
    tables: Sequence[Table]
    built: Sequence[TableRecord]
    tables_dir: Path
    timings: dict[str, float]
    now: Callable[[], datetime]
    checks: Sequence[CheckRecord] = ()
    on_progress: OnProgress = ignore_progress
    memory_mb: int = DEFAULT_MEMORY_MB
    extras: MakeExtras = no_extras
    in_process: bool = False

    def log(self, what: str) -> None:
        """Report progress."""
        self.on_progress(Progress("publish", what))


def build_snapshot(  # noqa: PLR0913 - each is a fact of the snapshot
    inputs: SnapshotInputs, folder: Path, snapshot_id: str, *, sequence: int, newest: Snapshot | None, lock: RunLock
) -> Manifest:
    """Fill an empty folder with a verified snapshot; its manifest is written last.

    Args:
        newest: The newest snapshot so far: files that are the same are reused.
        lock: The run's lock, which the writer's process holds too.

    Returns:
        The manifest.

    Raises:
        PublishError: A file is damaged or can't be written, or the snapshot did not pass verification.
        OSError: The disk refused.
    """
    clock = _Stopwatch()
    records = link_tables(folder, snapshot_id, inputs.built, inputs.tables_dir, newest, lock.digests, log=inputs.log)
    files = [file for table in records for file in table.files]
    unchanged = sum(file.first_snapshot != snapshot_id for file in files)
    inputs.log(f"{len(files)} Parquet files linked, {unchanged} of them unchanged")
    clock.lap("publish_link")
    options = WriterOptions(
        memory_mb=inputs.memory_mb,
        on_table=lambda name, rows: inputs.log(f"{name}: {rows:,} rows in exports.duckdb"),
        keep_open=(lock.descriptor,),
        on_stderr=lambda said: inputs.log(f"the process that wrote exports.duckdb said {said}"),
        in_process=inputs.in_process,
    )

    info = SnapshotInfo(
        snapshot_id=snapshot_id,
        sequence=sequence,
        source=inputs.staging.source.identity,
        instant=inputs.staging.source.snapshot_at,
        contract_version=CONTRACT_VERSION,
        published_at=inputs.now(),
    )

    def finish(base: Snapshot | None) -> tuple[Manifest, WrittenDatabase, list[CheckRecord]]:
        database = add_database(
            folder,
            inputs.tables,
            records,
            options,
            staging=inputs.staging,
            base=base,
            info=info,
            digests=lock.digests,
            log=inputs.log,
        )
        clock.lap("publish_database")
        manifest = _manifest(inputs, info, records, database)
        verified = compare_duckdb_and_parquet(
            Snapshot(folder, manifest), inputs.tables, database.changes, memory_mb=inputs.memory_mb * 3 // 2
        )
        clock.lap("publish_verify")
        return manifest, database, verified

    manifest, database, verified = finish(newest if inputs.staging.base_snapshot else None)
    if database.changes is not None and failed_checks(verified):
        names = ", ".join(f"{check.table}.{check.name}" for check in failed_checks(verified))
        inputs.log(f"exports.duckdb is built again: the changed copy did not pass {names}")
        manifest, database, verified = finish(None)
    _require_passed(verified)
    how = "changes of both formats verified" if database.changes is not None else "both formats verified"
    inputs.log(how)
    manifest = _with_results(manifest, (*inputs.checks, *verified), {**inputs.timings, **clock.laps})
    extras = inputs.extras(Snapshot(folder, manifest), newest)
    for check in extras.checks:
        if not check.passed:
            inputs.log(f"warning: {describe_check(check)}")
    written = write_extras(folder, snapshot_id, extras.files)
    clock.lap(DRAWING_STAGE)
    manifest = _with_results(manifest, (*manifest.checks, *extras.checks), {**inputs.timings, **clock.laps})
    manifest = manifest.model_copy(update={"extras": written})
    write_manifest(folder, manifest)
    sync_folder(folder)
    return manifest


def _manifest(
    inputs: SnapshotInputs, info: SnapshotInfo, records: tuple[TableRecord, ...], database: WrittenDatabase
) -> Manifest:
    staging = inputs.staging
    changed = [segment_name(segment.segment) for segment in staging.segments]
    return Manifest(
        id=info.snapshot_id,
        sequence=info.sequence,
        created_at=info.published_at,
        contract_version=info.contract_version,
        source=staging.source,
        segment_size=staging.segment_size,
        segment_numbers=staging.segment_numbers,
        include_full_data=staging.include_full_data,
        tables=records,
        database=database.record.model_copy(update={"first_snapshot": info.snapshot_id}),
        checks=tuple(inputs.checks),
        versions=library_versions(),
        timings_s=inputs.timings,
        base_snapshot=staging.base_snapshot,
        changed_segments=tuple(changed) if staging.base_snapshot else (),
        fingerprints=staging.fingerprints,
        lost_columns=staging.lost_columns,
        rebuilt_database_bytes=database.rebuilt_bytes,
    )


def _with_results(manifest: Manifest, checks: Sequence[CheckRecord], timings: dict[str, float]) -> Manifest:
    return manifest.model_copy(update={"checks": tuple(checks), "timings_s": timings})


def _require_passed(verified: Sequence[CheckRecord]) -> None:
    try:
        raise_failed(verified, "The new snapshot did not pass verification")
    except SnapshotError as error:
        raise PublishError(
            error.what,
            expected=error.expected,
            found=error.found,
            fix=error.fix
            if lacks_memory(verified)
            else "read everything again: lei-exports run --full-refresh; if it fails again, report it",
        ) from None


class _Stopwatch:
    """Seconds per stage; a stage that runs twice counts both."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, name: str) -> None:
        """End the stage that runs and begin the next."""
        now = time.monotonic()
        self.laps[name] = round(self.laps.get(name, 0.0) + now - self._since, 3)
        self._since = now
