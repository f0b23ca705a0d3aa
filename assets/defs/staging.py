"""The source tables, and the asset shell of the extraction: one step for both, read in one snapshot (DESIGN 3.6)."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from assets.defs.catalog import check_results, check_specs, key_of, source_spec
from assets.defs.resources import EXPORT_FOLDER, ExportsResource, RunLockHolder, failures, report_to, tag_result
from assets.defs.unchanged import report_unchanged
from pipelines.build.extraction import Acceptance
from pipelines.build.publication import raise_if_failed
from pipelines.checks.definitions import source_checks
from pipelines.contracts.records import StagingRecord
from pipelines.contracts.source import SOURCE_TABLES
from pipelines.report.texts import format_seconds
from pipelines.system.printable import printable

# As they stand in PostgreSQL. Nothing is run for them; every run that looked at the source says so here, changed or
# not: an unchanged source is fresh (DESIGN 4).
source_tables = [
    source_spec(
        "source",
        table,
        kinds={"postgres"},
        description=f"{(table.schema.__doc__ or '').strip()} Written by the application, read in one snapshot per run.",
    )
    for table in SOURCE_TABLES
]


class ExtractionConfig(dg.Config):
    """What an operator knowingly accepts in this run."""

    accept_new_source: bool = Field(
        default=False, description="Publish although the source is not the one of the published snapshot."
    )
    accept_shrink: bool = Field(
        default=False,
        description="Publish although the source lost more rows than MIN_ROWS_PCT allows, or known columns.",
    )
    full_refresh: bool = Field(default=False, description="Read everything, changed or not.")


@dg.multi_asset(
    name="staging",
    pool=EXPORT_FOLDER,
    specs=[
        source_spec(
            "staging",
            table,
            deps=[key_of("source", table.name)],
            kinds={"connectorx", "arrow"},
            description=f"Rows of `{table.name}` in segments of domain ids, all of one instant of the database.",
            # Nothing changed: nothing is staged, and nothing is built or published either.
            skippable=True,
        )
        for table in SOURCE_TABLES
    ],
    check_specs=[spec for t in SOURCE_TABLES for spec in check_specs(key_of("staging", t.name), source_checks(t.name))],
)
def staging(
    context: dg.AssetExecutionContext,
    config: ExtractionConfig,
    exports: ExportsResource,
    run_lock: dg.ResourceParam[RunLockHolder],
) -> Iterator[dg.MaterializeResult[None] | dg.AssetObservation | dg.AssetCheckResult]:
    """Read what changed of both tables into a new staging; a retry takes a new snapshot."""
    accepted = Acceptance(new_source=config.accept_new_source, shrink=config.accept_shrink)
    settings, on_progress = exports.settings(), report_to(context.log.info)
    with failures(context.retry_number):
        run = run_lock.hold(settings, on_progress)
        staged = run.stage(accepted, full_refresh=config.full_refresh)
    if staged.unchanged_since is not None:
        manifest = staged.unchanged_since.manifest
        context.log.info(
            "Nothing changed since snapshot %s (sequence %s): it stays, nothing is built, and its checks are reported"
            " again.",
            manifest.id,
            manifest.sequence,
        )
        tag_result(context, f"nothing changed since snapshot {manifest.sequence}")
    _log_summary(context.log.info, staged.record)
    for table in SOURCE_TABLES:
        key = key_of("staging", table.name)
        checks = check_results(key, [check for check in staged.checks if check.table == table.name])
        metadata = _metadata(staged.record, table.name)
        # The look itself, for freshness and as the version of the source that was read.
        version = _data_version(staged.record, table.name)
        context.log_event(
            dg.AssetMaterialization(
                key_of("source", table.name),
                metadata={"dagster/row_count": staged.record.source.relations[table.name].rows},
                tags={"dagster/data_version": version} if version else {},
            )
        )
        if staged.unchanged_since is None:
            yield dg.MaterializeResult(asset_key=key, metadata=metadata, check_results=checks)
        else:
            since = staged.unchanged_since.manifest.id
            yield dg.AssetObservation(asset_key=key, metadata={**metadata, "unchanged_since": since})
            yield from checks
    with failures():  # in our words: Dagster's own would name the check alone
        raise_if_failed(staged.checks)
    if staged.unchanged_since is not None:
        report_unchanged(context, staged.unchanged_since)
        if settings.publish_url is not None:
            from assets.defs.remote import catch_up  # noqa: PLC0415  needs the extra `cloud`

            catch_up(context, run)


def _log_summary(log: Callable[[str], None], record: StagingRecord) -> None:
    """The story of the read, for the run's log."""
    source = record.source
    described, instant = printable(source.description), f"{source.snapshot_at:%Y-%m-%d %H:%M} UTC"
    log(f"Source {described}, PostgreSQL {source.server_version}, as of {instant}")
    for name, relation in source.relations.items():
        left_out = f"; left out: {', '.join(map(printable, relation.unknown))}" if relation.unknown else ""
        log(f"{name}: {relation.rows:,} rows{left_out}")
    base = record.base_snapshot
    scope = "segments read, all there are" if base is None else f"segments read, those changed since {base}"
    log(f"{len(record.segments):,} {scope}; {format_seconds(sum(record.timings_s.values()))}")


def _metadata(record: StagingRecord, table: str) -> dict[str, Any]:
    relation = record.source.relations[table]
    nulled = {name: count for name, count in record.nulled_values.items() if name.startswith(f"{table}.")}
    return {
        "dagster/row_count": relation.rows,
        "staging_id": record.staging_id,
        "source": record.source.description,
        "server_version": record.source.server_version,
        "snapshot_at": dg.MetadataValue.timestamp(record.source.snapshot_at),
        "wal_position": record.source.wal_position,
        "segments_read": len(record.segments),
        "base_snapshot": record.base_snapshot or "none: everything was read",
        "absent_columns": dg.MetadataValue.json(list(relation.absent)),
        "unknown_columns": dg.MetadataValue.json(list(relation.unknown)),
        "values_set_to_null": dg.MetadataValue.json(nulled),
        **{f"{stage}_s": round(seconds, 3) for stage, seconds in record.timings_s.items()},
    }


def _data_version(record: StagingRecord, table: str) -> str | None:
    """Hash of the fingerprints of a table; None where the source has none."""
    fingerprints = record.fingerprints.get(table)
    if not fingerprints:
        return None
    reported = repr(sorted((name, found.rows, found.digest) for name, found in fingerprints.items()))
    return hashlib.md5(reported.encode(), usedforsecurity=False).hexdigest()
