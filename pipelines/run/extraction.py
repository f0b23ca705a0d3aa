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
from pipelines.publish.guards import check_shrink, require_same_source
from pipelines.reading.snapshots import current_snapshot
from pipelines.sample.embedded import embedded_server, ensure_sample
from pipelines.run.turn import in_turn
from pipelines.settings import Settings
from pipelines.staging.folder import new_staging


@dataclass(frozen=True)
class Acceptance:
    """What an operator knowingly accepts in a run (DESIGN 4).

    Attributes:
        new_source: Another source than the published one.
        shrink: A source that lost more rows than MIN_ROWS_PCT allows.
    """

    new_source: bool = False
    shrink: bool = False


NOTHING_ACCEPTED = Acceptance()


@dataclass(frozen=True)
class StagedSource:
    """A complete staging and what was checked of it."""

    record: StagingRecord
    checks: tuple[CheckRecord, ...]


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
    settings: Settings, accepted: Acceptance = NOTHING_ACCEPTED, on_progress: OnProgress = ignore_progress
) -> StagedSource:
    """Read both source tables, as of one instant, into a new staging. The run's turn begins here.

    Raises:
        BusyError: Another run works on the same export folder.
        ExportError: Whatever stopped the run; nothing is published, an incomplete staging is removed.
    """
    with in_turn(settings.export_dir, on_progress, keep=True):
        return _stage(settings, accepted, on_progress)


def _stage(settings: Settings, accepted: Acceptance, on_progress: OnProgress) -> StagedSource:
    published = current_snapshot(settings.export_dir)
    options = ExtractOptions(
        schema=settings.source_schema,
        segment_size=settings.segment_size,
        read_connections=settings.read_connections,
        longest_s=settings.export_max_seconds,
        include_full_data=settings.include_full_data,
    )
    with new_staging(settings.export_dir, _now) as staging, open_source(settings) as address:
        manifest = published.manifest if published else None
        record = extract_source(
            address,
            staging,
            options,
            on_progress,
            lambda source: require_same_source(manifest, source.identity, is_accepted=accepted.new_source),
        ).model_copy(update={"accept_new_source": accepted.new_source, "accept_shrink": accepted.shrink})
        checks = shrink_checks(manifest, record, settings.min_rows_pct)
        staging.write_record(record)
    return StagedSource(record, tuple(checks))


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
