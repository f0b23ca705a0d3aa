"""The asset shells of the export tables: a step for those of staged rows, and one for those computed from them.

Each is one step, because a segment (a key range) is read once for all of its tables.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import dagster as dg

from assets.defs.catalog import check_results, check_specs, column_lineage, key_of, plots_metadata, table_spec
from assets.defs.resources import EXPORT_FOLDER, ExportsResource, RunLockHolder, failures, report_to
from pipelines.build.publication import raise_if_failed
from pipelines.build.reporting import plots_of_built
from pipelines.checks.definitions import table_checks
from pipelines.contracts.records import TableRecord
from pipelines.contracts.source import SOURCE_TABLES
from pipelines.contracts.tables import DERIVED_TABLES, REJECTED_ROWS, Table, published_tables, segmented_tables

STAGED = [key_of("staging", table.name) for table in SOURCE_TABLES]
# Columns before the first run are those of the default INCLUDE_FULL_DATA=false; a run's metadata has its own.
TABLES = segmented_tables(include_full_data=False)
INPUTS = [key_of("exports", table.name) for table in TABLES if table != REJECTED_ROWS]


def _check_specs(tables: Iterable[Table]) -> list[dg.AssetCheckSpec]:
    return [spec for table in tables for spec in check_specs(key_of("exports", table.name), table_checks(table))]


@dg.multi_asset(
    name="exports",
    pool=EXPORT_FOLDER,
    specs=[table_spec(table, STAGED) for table in TABLES],
    check_specs=_check_specs(TABLES),
    can_subset=True,
)
def exports_tables(
    context: dg.AssetExecutionContext, exports: ExportsResource, run_lock: dg.ResourceParam[RunLockHolder]
) -> Iterator[dg.MaterializeResult[None]]:
    """Build the selected tables from the last complete staging."""
    settings, on_progress = exports.settings(), report_to(context.log.info)
    with failures():
        run = run_lock.hold(settings, on_progress)
        records = run.build(_selected(context))
        plots = plots_of_built(settings, run.report, [record.name for record in records], context.log.warning)
    yield from _results(context, records, plots, include_full_data=settings.include_full_data)


@dg.multi_asset(
    name="summaries",
    pool=EXPORT_FOLDER,
    specs=[table_spec(table, INPUTS) for table in DERIVED_TABLES],
    check_specs=_check_specs(DERIVED_TABLES),
    can_subset=True,
)
def summary_tables(
    context: dg.AssetExecutionContext, exports: ExportsResource, run_lock: dg.ResourceParam[RunLockHolder]
) -> Iterator[dg.MaterializeResult[None]]:
    """Build the selected tables from domain_exports and candidate_exports of the last complete staging."""
    settings, on_progress = exports.settings(), report_to(context.log.info)
    with failures():
        records = run_lock.hold(settings, on_progress).derive(_selected(context))
    yield from _results(context, records, {}, include_full_data=settings.include_full_data)


def _selected(context: dg.AssetExecutionContext) -> list[str]:
    return [key.path[-1] for key in context.selected_asset_keys]


def _results(
    context: dg.AssetExecutionContext,
    records: Sequence[TableRecord],
    plots: Mapping[str, Mapping[str, str]],
    *,
    include_full_data: bool,
) -> Iterator[dg.MaterializeResult[None]]:
    tables = {table.name: table for table in published_tables(include_full_data=include_full_data)}
    for record in records:
        key = key_of("exports", record.name)
        context.log.info(_format_summary(record))
        selected = {check.name for check in context.selected_asset_check_keys if check.asset_key == key}
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={
                "dagster/row_count": record.rows,
                **plots_metadata(plots.get(record.name, {})),
                "dagster/column_lineage": column_lineage(tables[record.name]),
                "staging_id": record.staging_id,
                "contract_version": record.contract_version,
                "files": len(record.files),
                "bytes": sum(file.bytes for file in record.files),
                **{f"{stage}_s": seconds for stage, seconds in record.timings_s.items()},
            },
            check_results=check_results(key, [check for check in record.checks if check.name in selected]),
        )
    with failures():
        raise_if_failed([check for record in records for check in record.checks])


def _format_summary(record: TableRecord) -> str:
    """A table's line in the run's log: rows, files, and the checks that did not pass."""
    failed = [check.name for check in record.checks if not check.passed]
    checks = f"did not pass {', '.join(failed)}" if failed else f"{len(record.checks)} checks passed"
    return f"{record.name}: {record.rows:,} rows in {len(record.files):,} files, {checks}"
