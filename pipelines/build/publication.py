"""The third step of a run: from the built tables to a verified snapshot that `current` points at (DESIGN 3.7, 4)."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipelines.build.base import check_source
from pipelines.build.reporting import ReportMaker, RunReport
from pipelines.build.staging import StagingFolder
from pipelines.build.stagings import claim_staging, remove_stagings
from pipelines.build.table_build import scan_files
from pipelines.checks.definitions import SHRINK_CHECK
from pipelines.checks.evaluation import compare_counts, count_rejects, reconcile_rows
from pipelines.contracts.records import CheckRecord, Manifest, StagingRecord, TableRecord
from pipelines.contracts.tables import published_tables
from pipelines.errors import LockLostError, PublishError, StagingError
from pipelines.progress import OnProgress, Progress
from pipelines.settings import Settings
from pipelines.snapshots.assembly import SnapshotInputs
from pipelines.snapshots.folder import no_extras
from pipelines.snapshots.guards import reference_snapshot
from pipelines.snapshots.publishing import publish_snapshot
from pipelines.snapshots.switch import current_id
from pipelines.system.run_lock import RunLock, guarded


@dataclass(frozen=True)
class Publication:
    """What was published.

    Attributes:
        rejects: Rejected rows by reason.
        plots: Charts of the snapshot, Markdown by metadata key; none where no report was asked for or drawing failed.
        held_at: Id of the snapshot that a rollback keeps current, so that this one is built only; None: it is current.
    """

    manifest: Manifest
    rejects: dict[str, int]
    plots: dict[str, str] = field(default_factory=dict)
    held_at: str | None = None


class ChecksFailedError(PublishError):
    """Checks that block the switch failed.

    Attributes:
        checks: All checks of the step, passed or not.
    """

    def __init__(self, checks: Sequence[CheckRecord]) -> None:
        self.checks = tuple(checks)
        failed = [check for check in checks if not check.passed and check.severity == "error"]
        found = "; ".join(
            f"{c.table}.{c.name} ({', '.join(f'{k}={v}' for k, v in c.metadata.items())})" for c in failed
        )
        fix = "look at the source; a check of the contract that fails is an error in lei-exports"
        if any(check.name == SHRINK_CHECK for check in failed):
            fix = "if the source really shrank, run with accept_shrink (lei-exports run --accept-shrink)"
        super().__init__("Blocking checks failed, so nothing was published", found=found, fix=fix)


def raise_if_failed(checks: Sequence[CheckRecord]) -> None:
    """Stop at checks that failed with severity `error`.

    Raises:
        ChecksFailedError: Names them with what decided them.
    """
    if any(not check.passed and check.severity == "error" for check in checks):
        raise ChecksFailedError(checks)


@guarded
def publish_tables(
    settings: Settings,
    lock: RunLock,
    on_progress: OnProgress,
    *,
    report: RunReport | None,
    in_process: bool,
) -> Publication:
    """Publish the tables that were built from the last complete staging.

    Args:
        report: Draws report.html as well; one that can't be drawn is a warning. None: there is none.
        in_process: Write exports.duckdb in this process: for tests that are not about the process.

    Raises:
        BusyError: Another run works on the last staging, or a command switches or deletes snapshots.
        LockLostError: Another run took the lock.
        StagingError: A table is not built, or not from this staging.
        ChecksFailedError: A blocking check failed.
        PublishError: The snapshot could not be written, verified or switched to; `current` is as it was.
    """
    staging = claim_staging(settings.export_dir, lock)
    record = staging.read_record()
    tables = published_tables(include_full_data=record.include_full_data)
    built = [_built(staging, table.name) for table in tables]
    published = reference_snapshot(settings.export_dir)
    checks = check_source(published.manifest if published else None, record, settings.min_rows_pct)
    checks += _snapshot_checks(staging, record, built)
    raise_if_failed([*checks, *(check for table in built for check in table.checks)])
    rejects = count_rejects(scan_files(staging.tables_dir, _named(built, "rejected_rows").files))
    switched: list[str] = []

    def hear(progress: Progress) -> None:
        switched.append(progress.published)
        on_progress(progress)

    with ExitStack() as stack:
        maker = None
        if report is not None:  # what draws starts at once, and is ready when the snapshot is
            maker = ReportMaker(report, stack.enter_context(report.drawing()), settings.keep_snapshots)
        inputs = SnapshotInputs(
            staging=record,
            tables=tables,
            built=built,
            tables_dir=staging.tables_dir,
            timings=_timings(record, built),
            now=lambda: datetime.now(UTC),
            checks=checks,
            on_progress=hear,
            memory_mb=settings.database_memory_mb,
            extras=maker or no_extras,
            in_process=in_process,
        )
        manifest = publish_snapshot(
            inputs,
            export_dir=settings.export_dir,
            lock=lock,
            keep_snapshots=settings.keep_snapshots,
            keep_hours=settings.keep_hours,
        )
    # It is published: from here on nothing may fail.
    with suppress(OSError, LockLostError):
        lock.require_held()
        remove_stagings(settings.export_dir, lock, keep=lambda folder: folder.staging_id == staging.staging_id)
    held_at = None if manifest.id in switched else current_id(settings.export_dir)
    return Publication(manifest, rejects, maker.plots if maker else {}, held_at)


def _built(staging: StagingFolder, name: str) -> TableRecord:
    record = staging.read_table_record(name)
    if record is None:
        raise StagingError(
            f"Table {name} is not built from the last staging",
            expected=f"all tables built from staging {staging.staging_id}",
            found="tables of different runs, or one that was never built",
            fix=f"materialize exports/{name}, or run the job `export`",
        )
    return record


def _snapshot_checks(staging: StagingFolder, record: StagingRecord, built: Sequence[TableRecord]) -> list[CheckRecord]:
    rows = {table.name: table.rows for table in built}
    source_rows = {name: relation.rows for name, relation in record.source.relations.items()}
    rejected, domains = (_named(built, name).files for name in ("rejected_rows", "domain_exports"))
    return [
        reconcile_rows(source_rows, rows, scan_files(staging.tables_dir, rejected)),
        compare_counts(scan_files(staging.tables_dir, domains), rows["candidate_exports"]),
    ]


def _named(built: Sequence[TableRecord], name: str) -> TableRecord:
    return next(table for table in built if table.name == name)


def _timings(record: StagingRecord, built: Sequence[TableRecord]) -> dict[str, float]:
    """Seconds per stage of the run so far. Validation is done once for all tables, so it is counted once."""
    timings = {f"stage_{name}": seconds for name, seconds in record.timings_s.items()}
    for table in built:
        for name, seconds in table.timings_s.items():
            timings[f"build_{name}" if name == "validate" else f"build_{table.name}_{name}"] = seconds
    return {name: round(seconds, 3) for name, seconds in timings.items()}
