"""The first step of a run: from the source into a new, complete staging.

Belongs here: which source, and what stops a run before it has cost anything. Does not: how rows are read (extract/).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import SecretStr

from pipelines.contracts.records import CheckRecord, Manifest, StagingRecord
from pipelines.extract.connection import SourceAddress
from pipelines.extract.extraction import ExtractOptions, extract_source
from pipelines.progress import OnProgress, ignore_progress
from pipelines.publish.guards import check_shrink, is_same_source, reference_snapshot, require_same_source
from pipelines.publish.preflight import require_switchable
from pipelines.publish.snapshots import record_unchanged
from pipelines.run.base import find_base
from pipelines.run.lost_columns import columns_kept_checks, find_lost_columns
from pipelines.run.room import require_room
from pipelines.run.turn import end_turn, in_turn
from pipelines.sample.embedded import embedded_server, ensure_sample
from pipelines.settings import Settings
from pipelines.staging.folder import latest_id, new_staging, remove_stagings


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
        checks: What was checked of it.
        unchanged_since: Id of the published snapshot that is as the source is now; None: there is a new staging.
    """

    record: StagingRecord
    checks: tuple[CheckRecord, ...]
    unchanged_since: str | None = None


@contextmanager
def open_source(settings: Settings) -> Iterator[SourceAddress]:
    """Where the source is; the embedded server is started for as long as it is needed."""
    if settings.database_url is not None:
        yield SourceAddress(settings.database_url, is_sample=False)
        return
    settings.embedded_dir.parent.mkdir(parents=True, exist_ok=True)
    with embedded_server(settings.embedded_dir) as conninfo:
        ensure_sample(conninfo)
        yield SourceAddress(SecretStr(conninfo), is_sample=True)


def stage_source(
    settings: Settings,
    accepted: Acceptance = NOTHING_ACCEPTED,
    on_progress: OnProgress = ignore_progress,
    *,
    full_refresh: bool = False,
) -> StagedSource:
    """Read what changed of both source tables, as of one instant, into a new staging. The run's turn begins here.

    Args:
        settings: The run's settings.
        accepted: What the operator accepts.
        on_progress: Hears how far it is.
        full_refresh: Read everything, changed or not.

    Raises:
        BusyError: Another run works on the same export folder.
        ExportError: Whatever stopped the run; nothing is published, an incomplete staging is removed.
    """
    with in_turn(settings.export_dir, on_progress, keep=True):
        staged = _stage(settings, accepted, on_progress, full_refresh=full_refresh)
    if staged.unchanged_since is not None:
        end_turn(settings.export_dir)
    return staged


def _stage(settings: Settings, accepted: Acceptance, on_progress: OnProgress, *, full_refresh: bool) -> StagedSource:
    require_switchable(settings.export_dir)
    published = reference_snapshot(settings.export_dir)
    manifest = published.manifest if published else None
    # That columns are gone for good is written into a new snapshot, whether or not a row changed.
    accepts_loss = accepted.shrink and manifest is not None and bool(manifest.lost_columns)
    base = None if full_refresh or accepts_loss else find_base(settings, on_progress)
    options = ExtractOptions(
        schema=settings.source_schema,
        segment_size=settings.segment_size,
        read_connections=settings.read_connections,
        longest_s=settings.export_max_seconds,
        include_full_data=settings.include_full_data,
        base=base.manifest if base else None,
    )
    with new_staging(settings.export_dir, _now) as staging, open_source(settings) as address:
        record = extract_source(
            address,
            staging,
            options,
            on_progress,
            lambda source: require_same_source(manifest, source, is_accepted=accepted.new_source),
            lambda to_read, whole: require_room(settings.export_dir, to_read, whole, manifest),
        )
        lost = find_lost_columns(published, record.source, accepted=accepted.shrink)
        record = record.model_copy(
            update={
                "accept_new_source": accepted.new_source,
                "accept_shrink": accepted.shrink,
                "lost_columns": lost,
            }
        )
        checks = (*shrink_checks(manifest, record, settings.min_rows_pct), *columns_kept_checks(record))
        if base is not None and not record.segments and is_same_source(base.manifest.source, record.source):
            record_unchanged(settings.export_dir, now=_now, on_progress=on_progress)
            _tidy(settings)
            return StagedSource(record, checks, unchanged_since=base.manifest.id)
        staging.write_record(record)
    return StagedSource(record, checks)


def _tidy(settings: Settings) -> None:
    """Remove stagings that killed runs left: with nothing to publish, no publish does so."""
    latest = latest_id(settings.export_dir)
    remove_stagings(settings.export_dir, keep=lambda folder: folder.staging_id == latest)


def shrink_checks(published: Manifest | None, record: StagingRecord, min_rows_pct: float) -> list[CheckRecord]:
    """Whether the source shrank since the published snapshot (DESIGN 4), by what a staging knows."""
    return check_shrink(
        published,
        {name: relation.rows for name, relation in record.source.relations.items()},
        min_rows_pct,
        accept_shrink=record.accept_shrink,
        identity=record.source.identity,
    )


def _now() -> datetime:
    return datetime.now(UTC)
