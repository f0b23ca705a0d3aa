"""Publishing a snapshot (DESIGN 3.7, 4): lock, guards, build in a hidden folder, verify, switch, retention.

Belongs here: the order of these steps and what a failure leaves behind. Does not: how each is done.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipelines.contracts.records import CheckRecord, Manifest, StagingRecord, TableRecord
from pipelines.contracts.tables import Table
from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.errors import PublishError, SnapshotError
from pipelines.progress import OnProgress, Progress, ignore_progress
from pipelines.publish.database import DEFAULT_MEMORY_MB, WriterOptions
from pipelines.publish.files import hold_lock, sync_folder, write_failure
from pipelines.publish.folder import add_database, library_versions, link_tables, write_manifest
from pipelines.publish.guards import check_source_identity
from pipelines.publish.inputs import require_publishable
from pipelines.publish.retention import prune_snapshots
from pipelines.publish.switch import (
    building_folder,
    points_at,
    promote,
    record_last_checked,
    remove_leftovers,
    switch_current,
)
from pipelines.reading.snapshots import CURRENT, SNAPSHOTS, Snapshot, current_snapshot, list_snapshots
from pipelines.reading.verification import raise_failed, verify_faces

LOCK = ".publish.lock"
# Longer than a publish takes (10 s for a million domains), shorter than an operator's patience.
LOCK_WAIT_SECONDS = 300.0
_SUFFIX_DIGITS = 8


@dataclass(frozen=True)
class _Inputs:
    """What publish_snapshot was given, for the steps."""

    export_dir: Path
    staging: StagingRecord
    tables: Sequence[Table]
    built: Sequence[TableRecord]
    tables_dir: Path
    timings: dict[str, float]
    now: Callable[[], datetime]
    checks: Sequence[CheckRecord]
    memory_mb: int
    on_progress: OnProgress

    def say(self, what: str) -> None:
        self.on_progress(Progress("publish", what))


def publish_snapshot(  # noqa: PLR0913 - each is a fact of the run, and all are by keyword
    *,
    export_dir: Path,
    staging: StagingRecord,
    tables: Sequence[Table],
    built: Sequence[TableRecord],
    tables_dir: Path,
    keep_snapshots: int,
    keep_hours: float,
    timings: dict[str, float],
    now: Callable[[], datetime],
    checks: Sequence[CheckRecord] = (),
    on_progress: OnProgress = ignore_progress,
    memory_mb: int = DEFAULT_MEMORY_MB,
    lock_wait_seconds: float = LOCK_WAIT_SECONDS,
) -> Manifest:
    """Publish built tables as a new snapshot and switch `current` to it.

    Its id is the staging's; a staging that is published again gets its time with other last digits. What fails before
    the switch leaves `current` as it was and nothing else behind; what fails after it (last_checked.json, retention)
    is told through `on_progress` only, because the snapshot is published then.

    Args:
        export_dir: The export folder, created where missing (EXPORT_DIR).
        staging: What was read.
        tables: The tables to publish.
        built: What was built of each.
        tables_dir: Where the paths of the built files begin; on the same file system they are linked, not copied.
        keep_snapshots: So many of the newest snapshots stay (KEEP_SNAPSHOTS).
        keep_hours: Snapshots that were current in so many last hours stay (KEEP_HOURS).
        timings: Seconds per stage of the run so far.
        now: The clock, UTC.
        checks: Checks of the run as a whole (such as guards.check_shrink): recorded, and a failed one blocks.
        on_progress: Gets a message after each step.
        memory_mb: Most memory that the writer of exports.duckdb takes, MB.
        lock_wait_seconds: How long to wait for another run that is publishing.

    Returns:
        The manifest of the snapshot that is current now.

    Raises:
        SourceChangedError: The source is not the published one, and the staging does not accept that.
        StagingError: The built tables are not all of this staging and contract.
        SnapshotError: `current` exists and can't be read, so that its source is not known.
        PublishError: Another run is publishing, a blocking check failed, a file is damaged, the disk is full, the
            DuckDB file could not be built, or the new snapshot did not pass verification.
    """
    inputs = _Inputs(export_dir, staging, tables, built, tables_dir, timings, now, checks, memory_mb, on_progress)
    with _disk_errors(export_dir):
        (export_dir / SNAPSHOTS).mkdir(parents=True, exist_ok=True)
    with hold_lock(export_dir / LOCK, lock_wait_seconds) as lock:
        with _disk_errors(export_dir):
            remove_leftovers(export_dir)
        published = current_snapshot(export_dir)
        check_source_identity(None if published is None else published.manifest, staging)
        require_publishable(staging, tables, built, checks)
        with _disk_errors(export_dir):
            manifest = _build_and_switch(inputs, published, lock)
        _finish(inputs, manifest, keep_snapshots, keep_hours)
    return manifest


def _build_and_switch(inputs: _Inputs, published: Snapshot | None, lock: int) -> Manifest:
    export_dir = inputs.export_dir
    snapshot_id = free_id(export_dir, inputs.staging.staging_id)
    building = building_folder(export_dir, snapshot_id)
    try:
        building.mkdir()
        manifest = _build(inputs, published, building, snapshot_id, lock)
        promote(building, snapshot_id)
        switch_current(export_dir, snapshot_id)
    except BaseException:
        for folder in (building, export_dir / SNAPSHOTS / snapshot_id):
            if not points_at(export_dir, folder):
                shutil.rmtree(folder, ignore_errors=True)
        raise
    inputs.say(f"{CURRENT} is snapshot {snapshot_id}")
    return manifest


def _build(inputs: _Inputs, published: Snapshot | None, building: Path, snapshot_id: str, lock: int) -> Manifest:
    clock = _Stopwatch()
    records = link_tables(building, snapshot_id, inputs.built, inputs.tables_dir, published)
    files = [file for table in records for file in table.files]
    unchanged = sum(file.first_snapshot != snapshot_id for file in files)
    inputs.say(f"{len(files)} Parquet files linked, {unchanged} of them unchanged")
    clock.lap("publish_link")
    database = add_database(
        building,
        inputs.tables,
        records,
        WriterOptions(
            memory_mb=inputs.memory_mb,
            on_table=lambda name, rows: inputs.say(f"{name}: {rows:,} rows in exports.duckdb"),
            keep_open=(lock,),
        ),
    )
    clock.lap("publish_database")
    staging = inputs.staging
    manifest = Manifest(
        id=snapshot_id,
        sequence=_next_sequence(inputs.export_dir),
        created_at=inputs.now(),
        contract_version=CONTRACT_VERSION,
        source=staging.source,
        segment_size=staging.segment_size,
        include_full_data=staging.include_full_data,
        tables=records,
        database=database.model_copy(update={"first_snapshot": snapshot_id}),
        checks=tuple(inputs.checks),
        versions=library_versions(),
        timings_s=inputs.timings,
    )
    verified = verify_faces(Snapshot(building, manifest), inputs.tables)
    try:
        raise_failed(verified, "The new snapshot did not pass verification")
    except SnapshotError as error:
        raise PublishError(
            error.what, expected=error.expected, found=error.found, fix="run again; if it fails again, report it"
        ) from None
    inputs.say("both faces verified")
    clock.lap("publish_verify")
    timings = {**inputs.timings, **clock.laps}
    manifest = manifest.model_copy(update={"checks": (*inputs.checks, *verified), "timings_s": timings})
    write_manifest(building, manifest)
    sync_folder(building)
    return manifest


def _finish(inputs: _Inputs, manifest: Manifest, keep_snapshots: int, keep_hours: float) -> None:
    """What follows the switch. Its failures must not make the run look as if nothing was published."""
    try:
        sync_folder(inputs.export_dir)
        record_last_checked(
            inputs.export_dir,
            checked_at=inputs.now(),
            result="published",
            snapshot_id=manifest.id,
            sequence=manifest.sequence,
        )
        report = prune_snapshots(inputs.export_dir, keep_snapshots, keep_hours, inputs.now())
    except (OSError, SnapshotError) as error:
        inputs.say(f"published, but what follows the switch failed: {error}")
        return
    for name, why in report.unreadable.items():
        inputs.say(f"left alone for the operator: snapshots/{name}: {why}")
    if report.deleted:
        inputs.say(f"deleted by retention: {', '.join(report.deleted)}")


def free_id(export_dir: Path, staging_id: str) -> str:
    """The id of a snapshot of a staging: the staging's, or its time with other digits where that one exists.

    The digits follow from the staging's id and the number of tries, so that a repetition can be foreseen.
    """
    candidate, tries = staging_id, 0
    while (export_dir / SNAPSHOTS / candidate).exists():
        tries += 1
        digits = hashlib.sha256(f"{staging_id}/{tries}".encode()).hexdigest()[:_SUFFIX_DIGITS]
        candidate = f"{staging_id.rpartition('-')[0]}-{digits}"
    return candidate


def _next_sequence(export_dir: Path) -> int:
    """One more than the largest on disk: a snapshot that was built and never switched to has its number too."""
    return 1 + max((s.manifest.sequence for s in list_snapshots(export_dir).snapshots), default=0)


@contextmanager
def _disk_errors(export_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise write_failure(f"The snapshot could not be written to {export_dir}", error) from error


class _Stopwatch:
    """Seconds per stage."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, name: str) -> None:
        """End the stage that runs and begin the next."""
        now = time.monotonic()
        self.laps[name] = round(now - self._since, 3)
        self._since = now
