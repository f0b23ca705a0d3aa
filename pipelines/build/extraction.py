"""The first step of a run: from the source into a new, complete staging."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from pydantic import SecretStr

from pipelines.build.base import check_source, find_base, find_lost_columns, lacks_lost_columns
from pipelines.build.preflight import machine_questions, require_free_space
from pipelines.build.staging import StagingFolder
from pipelines.build.stagings import latest_id, latest_record, new_staging, remove_stagings
from pipelines.checks.findings import require_answers
from pipelines.contracts.records import CheckRecord, Manifest, SourceRecord, StagingRecord
from pipelines.engine.flow import Engine
from pipelines.engine.local import LOCAL
from pipelines.errors import BusyError, SnapshotError, SourceChangedError, StagingError
from pipelines.progress import OnProgress, Progress, ignore_progress
from pipelines.sample.embedded import embedded_server
from pipelines.sample.load import ensure_sample
from pipelines.settings import Settings
from pipelines.snapshots.guards import is_same_source, reference_snapshot, require_same_source
from pipelines.snapshots.history import read_hold
from pipelines.snapshots.opening import Snapshot, require_link, try_current
from pipelines.snapshots.publishing import record_unchanged
from pipelines.snapshots.retention import prune_now
from pipelines.source.connection import SourceAddress
from pipelines.source.extraction import extract_source
from pipelines.system.run_lock import RunLock, guarded


@dataclass(frozen=True)
class Acceptance:
    """What an operator knowingly accepts in a run (DESIGN 4).

    Attributes:
        new_source: Another source than the published one.
        shrink: A source that lost more rows than MIN_ROWS_PCT allows, or known columns that held values.
    """

    new_source: bool = False
    shrink: bool = False


NOTHING_ACCEPTED = Acceptance()


@dataclass(frozen=True)
class StagedSource:
    """What came of looking at the source.

    Attributes:
        record: What was staged; where nothing changed, only what was looked at.
        unchanged_since: The published snapshot that is as the source is now; None: there is a new staging.
    """

    record: StagingRecord
    checks: tuple[CheckRecord, ...]
    unchanged_since: Snapshot | None = None


@contextmanager
def open_source(settings: Settings) -> Iterator[SourceAddress]:
    """Where the source is; the embedded server is started for as long as it is needed."""
    if settings.database_url is not None:
        yield SourceAddress(settings.database_url, is_sample=False)
        return
    with embedded_server(settings.embedded_dir) as conninfo:
        ensure_sample(conninfo)
        yield SourceAddress(SecretStr(conninfo), is_sample=True)


@guarded
def stage_source(  # noqa: PLR0913 - a stage of a run
    settings: Settings,
    lock: RunLock,
    accepted: Acceptance = NOTHING_ACCEPTED,
    on_progress: OnProgress = ignore_progress,
    *,
    engine: Engine = LOCAL,
    full_refresh: bool = False,
) -> StagedSource:
    """Read what changed of both source tables, as of one instant, into a new staging of this run.

    Args:
        full_refresh: Read everything, changed or not.

    Raises:
        LockLostError: Another run took the lock.
        ExportError: Whatever stopped the run; nothing is published, an incomplete staging is removed.
    """
    require_answers(machine_questions(settings))
    require_link(settings.export_dir)
    published = _find_published(settings, accepted, on_progress)
    manifest = published.manifest
    # That columns are gone for good is written into a new snapshot, whether or not a row changed.
    accepts_loss = accepted.shrink and manifest is not None and bool(manifest.lost_columns)
    reads_all = full_refresh or accepts_loss or published.must_be_replaced
    base = None if reads_all else find_base(settings, lock.digests, on_progress)

    def require_published(source: SourceRecord) -> None:
        require_same_source(manifest, source.identity, source.address, is_accepted=accepted.new_source)

    with new_staging(settings.export_dir, lock) as staging, open_source(settings) as address:

        def check_room(to_read: int, whole: int) -> None:
            measure = published.snapshot.manifest if published.snapshot else None
            _find_room(settings, lock, staging, partial(require_free_space, settings, to_read, whole, measure))

        base_manifest = base.manifest if base else None
        record = extract_source(
            settings, address, base_manifest, staging, engine, on_progress, require_published, check_room
        )
        lost = find_lost_columns(published.snapshot, record.source, accepted=accepted.shrink)
        acceptance = {"accept_new_source": accepted.new_source, "accept_shrink": accepted.shrink}
        record = record.model_copy(update={**acceptance, "lost_columns": lost})
        checks = tuple(check_source(manifest, record, settings.min_rows_pct))
        lock.require_held()
        if base is not None and _is_unchanged(base.manifest, record):
            record_unchanged(settings.export_dir, lock, now=_now, on_progress=on_progress)
            _tidy(settings, lock)
            return StagedSource(record, checks, unchanged_since=base)
        staging.write_record(record)
    return StagedSource(record, checks)


@dataclass(frozen=True)
class _Published:
    """What the source is compared with.

    Attributes:
        snapshot: The published snapshot, else the newest that can be read; None: there is none.
        manifest: Of it; without one that of the last staging, with an id and a source and nothing else.
        must_be_replaced: Whether `current` can't be read, and nothing keeps a run from replacing it.
    """

    snapshot: Snapshot | None
    manifest: Manifest | None
    must_be_replaced: bool


def _find_published(settings: Settings, accepted: Acceptance, on_progress: OnProgress) -> _Published:
    """Find what is published, also where its manifest is damaged or its folder gone.

    Raises:
        SourceChangedError: Nothing says any more what was published, and another source is not accepted.
    """
    export_dir = settings.export_dir
    _, problem = try_current(export_dir)
    snapshot = reference_snapshot(export_dir)
    manifest = None if snapshot is None else snapshot.manifest
    if problem is None:
        return _Published(snapshot, manifest, must_be_replaced=False)
    is_held = read_hold(export_dir) is not None
    on_progress(Progress("read", f"{problem.what}: {'a rollback holds it' if is_held else 'everything is read'}"))
    if manifest is None and not accepted.new_source:
        record = latest_record(export_dir)
        if record is None:
            raise SourceChangedError(
                f"{problem.what}, so it is not known which source is published",
                expected="a snapshot or a staging that can be read, to compare its source with this one",
                found="none",
                fix="if DATABASE_URL and SOURCE_SCHEMA are right: lei-exports run --accept-new-source",
            )
        manifest = Manifest.model_construct(id=record.staging_id, source=record.source)
    return _Published(snapshot, manifest, must_be_replaced=not is_held)


def _find_room(settings: Settings, lock: RunLock, staging: StagingFolder, require: Callable[[], None]) -> None:
    """Look for room; where there is too little, remove what need not stay, and look once more.

    Raises:
        StagingError: There is too little even then.
    """
    try:
        require()
    except StagingError:
        # The last complete staging is of a run that failed, or of the published snapshot: this run makes another one.
        remove_stagings(settings.export_dir, lock, keep=lambda folder: folder.staging_id == staging.staging_id)
        with suppress(BusyError, SnapshotError, OSError):
            prune_now(settings.export_dir, settings.keep_snapshots, settings.keep_hours, _now())
        require()


def _is_unchanged(base: Manifest, record: StagingRecord) -> bool:
    """Whether a new snapshot would say nothing new: the same rows of the same source, and no lost column is back."""
    return (
        not record.segments
        and is_same_source(base.source, record.source.identity, record.source.address)
        and lacks_lost_columns(base, record.source)
    )


def _tidy(settings: Settings, lock: RunLock) -> None:
    """Remove stagings that killed runs left: with nothing to publish, no publish does so."""
    latest = latest_id(settings.export_dir)
    remove_stagings(settings.export_dir, lock, keep=lambda folder: folder.staging_id == latest)


def _now() -> datetime:
    return datetime.now(UTC)
