"""Publishing a snapshot (DESIGN 3.7, 4): lock, guards, build in a hidden folder, verify, switch, retention.

Belongs here: the order of these steps and what a failure leaves behind. Does not: how each is done.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pipelines.contracts.records import CheckRecord, Manifest, StagingRecord, TableRecord
from pipelines.contracts.tables import Table
from pipelines.errors import SnapshotError
from pipelines.progress import OnProgress, Progress, ignore_progress
from pipelines.publish.assembly import Ingredients, assemble
from pipelines.publish.database_process import DEFAULT_MEMORY_MB
from pipelines.publish.extras import MakeExtras, no_extras
from pipelines.publish.files import hold_lock, sync_folder, write_failure
from pipelines.publish.guards import check_source_identity
from pipelines.publish.inputs import require_base, require_publishable
from pipelines.publish.retention import prune_snapshots
from pipelines.publish.rollback import complete_switch
from pipelines.publish.switch import (
    LOCK,
    LOCK_WAIT_SECONDS,
    building_folder,
    points_at,
    promote,
    record_last_checked,
    remove_leftovers,
    switch_to,
)
from pipelines.reading.finding import newest_snapshot
from pipelines.reading.history import Hold, LookResult, read_hold
from pipelines.reading.snapshots import CURRENT, SNAPSHOTS, Snapshot, current_snapshot

_SUFFIX_DIGITS = 8


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
    extras: MakeExtras = no_extras,
) -> Manifest:
    """Publish built tables as a new snapshot and switch `current` to it, or only build it while a rollback holds.

    Its id is the staging's; a staging that is published again gets its time with other last digits. What fails before
    the switch leaves `current` as it was and nothing else behind; what fails after it (last_checked.json, retention)
    is told through `on_progress` only, because the snapshot is published then.

    Args:
        export_dir: The export folder, created where missing (EXPORT_DIR).
        staging: What was read. With a base snapshot, exports.duckdb is a changed copy of the base's where that will do.
        tables: The tables to publish.
        built: What was built of each: all files, those of unchanged segments too.
        tables_dir: Where the paths of the built files begin; on the same file system they are linked, not copied.
        keep_snapshots: So many of the newest snapshots stay (KEEP_SNAPSHOTS).
        keep_hours: Snapshots that were current in so many last hours stay (KEEP_HOURS).
        timings: Seconds per stage of the run so far.
        now: The clock, UTC.
        checks: Checks of the run as a whole (such as guards.check_shrink): recorded, and a failed one blocks.
        on_progress: Gets a message after each step.
        memory_mb: DuckDB's memory while exports.duckdb is written, MB; half as much more to verify it.
        lock_wait_seconds: How long to wait for another run that is publishing.
        extras: Makes files beside the data, once that is verified; what it raises stops the run.

    Returns:
        The manifest of the new snapshot; it is current now, unless a rollback holds (reading.history.read_hold).

    Raises:
        SourceChangedError: The source is not the published one, and the staging does not accept that.
        StagingError: The built tables are not all of this staging and contract, or its base is not the newest any more.
        SnapshotError: `current` exists and can't be read, so that its source is not known.
        PublishError: Another run is publishing, a blocking check failed, a file is damaged, the disk is full, the
            DuckDB file could not be built, or the new snapshot did not pass verification.
    """
    inputs = Ingredients(staging, tables, built, tables_dir, timings, now, checks, memory_mb, on_progress, extras)
    with _disk_errors(export_dir):
        (export_dir / SNAPSHOTS).mkdir(parents=True, exist_ok=True)
    with hold_lock(export_dir / LOCK, lock_wait_seconds) as lock:
        with _disk_errors(export_dir):
            remove_leftovers(export_dir)
        hold = read_hold(export_dir)
        if hold is not None:
            with _disk_errors(export_dir):
                complete_switch(export_dir, now(), inputs.say)
        published, newest = current_snapshot(export_dir), newest_snapshot(export_dir)
        check_source_identity(None if published is None else published.manifest, staging)
        require_base(staging, None if newest is None else newest.manifest)
        require_publishable(staging, tables, built, checks)
        with _disk_errors(export_dir):
            manifest = _build_and_switch(export_dir, inputs, newest, hold, lock)
        _finish(export_dir, inputs, keep_snapshots, keep_hours)
    return manifest


def _build_and_switch(
    export_dir: Path, inputs: Ingredients, newest: Snapshot | None, hold: Hold | None, lock: int
) -> Manifest:
    snapshot_id = free_id(export_dir, inputs.staging.staging_id)
    building = building_folder(export_dir, snapshot_id)
    try:
        building.mkdir()
        sequence = _next_sequence(newest)
        manifest = assemble(inputs, building, snapshot_id, sequence=sequence, newest=newest, lock=lock)
        folder = promote(building, snapshot_id)
        if hold is None:
            switch_to(export_dir, Snapshot(folder, manifest), "published", inputs.now())
    except BaseException:
        for folder in (building, export_dir / SNAPSHOTS / snapshot_id):
            if not points_at(export_dir, folder):
                shutil.rmtree(folder, ignore_errors=True)
        raise
    if hold is None:
        inputs.say(f"{CURRENT} is snapshot {snapshot_id}")
    else:
        inputs.say(
            f"snapshot {snapshot_id} is built, but {CURRENT} stays at {hold.snapshot_id}, rolled back on"
            f" {hold.held_at:%Y-%m-%d %H:%M} UTC, until: lei-exports rollback --release"
        )
    return manifest


def _finish(export_dir: Path, inputs: Ingredients, keep_snapshots: int, keep_hours: float) -> None:
    """What follows the switch. Its failures must not make the run look as if nothing was published."""
    try:
        sync_folder(export_dir)
        _record_look(export_dir, "published" if read_hold(export_dir) is None else "held", inputs.now())
        report = prune_snapshots(export_dir, keep_snapshots, keep_hours, inputs.now())
    except (OSError, SnapshotError) as error:
        inputs.say(f"published, but what follows the switch failed: {error}")
        return
    for name, why in report.unreadable.items():
        inputs.say(f"left alone for the operator: snapshots/{name}: {why}")
    if report.deleted:
        inputs.say(f"deleted by retention: {', '.join(report.deleted)}")


def record_unchanged(
    export_dir: Path,
    *,
    now: Callable[[], datetime],
    on_progress: OnProgress = ignore_progress,
    lock_wait_seconds: float = LOCK_WAIT_SECONDS,
) -> Snapshot | None:
    """Write down that the source was looked at and is what the newest snapshot holds; nothing new is published.

    What killed runs left is removed, and where one was killed between building that snapshot and switching to it, the
    switch is made now.

    Args:
        export_dir: The export folder.
        now: The clock, UTC.
        on_progress: Hears of such a switch.
        lock_wait_seconds: How long to wait for another run that is publishing.

    Returns:
        The snapshot that is current.

    Raises:
        SnapshotError: `current` can't be read, or the snapshot to switch to is damaged.
        PublishError: Another run is publishing, or last_checked.json can't be written.
    """
    with hold_lock(export_dir / LOCK, lock_wait_seconds), _disk_errors(export_dir):
        remove_leftovers(export_dir)
        complete_switch(export_dir, now(), lambda what: on_progress(Progress("publish", what)))
        _record_look(export_dir, "unchanged", now())
        return current_snapshot(export_dir)


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


def _record_look(export_dir: Path, result: LookResult, at: datetime) -> None:
    current = current_snapshot(export_dir)
    record_last_checked(
        export_dir,
        checked_at=at,
        result=result,
        snapshot_id=None if current is None else current.manifest.id,
        sequence=None if current is None else current.manifest.sequence,
    )


def _next_sequence(newest: Snapshot | None) -> int:
    """One more than the largest on disk: a snapshot that was built and never switched to has its number too."""
    return 1 if newest is None else newest.manifest.sequence + 1


@contextmanager
def _disk_errors(export_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise write_failure(f"The snapshot could not be written to {export_dir}", error) from error
