"""The asset shell of the export tables: one step, because a segment is read and judged once for all of them."""

from collections.abc import Iterator

import dagster as dg

from assets.catalog import check_results, check_specs, key_of, table_spec
from assets.resources import ExportsResource, failures, report_to
from pipelines.checks.definitions import table_checks
from pipelines.contracts.source import SOURCE_TABLES
from pipelines.contracts.tables import published_tables
from pipelines.run.building import build_tables

STAGED = [key_of("staging", table.name) for table in SOURCE_TABLES]
# Columns before the first run are those of the default INCLUDE_FULL_DATA=false; a run's metadata has its own.
TABLES = published_tables(include_full_data=False)


@dg.multi_asset(
    name="exports",
    specs=[table_spec(table, STAGED) for table in TABLES],
    check_specs=[s for table in TABLES for s in check_specs(key_of("exports", table.name), table_checks(table))],
    can_subset=True,
)
def exports_tables(context: dg.AssetExecutionContext, exports: ExportsResource) -> Iterator[dg.MaterializeResult[None]]:
    """Build the selected tables from the last complete staging."""
    names = [key.path[-1] for key in context.selected_asset_keys]
    with failures():
        records = build_tables(exports.settings(), names, report_to(context.log.info))
    for record in records:
        key = key_of("exports", record.name)
        selected = {check.name for check in context.selected_asset_check_keys if check.asset_key == key}
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={
                "dagster/row_count": record.rows,
                "staging_id": record.staging_id,
                "contract_version": record.contract_version,
                "files": len(record.files),
                "bytes": sum(file.bytes for file in record.files),
                **{f"{stage}_s": seconds for stage, seconds in record.timings_s.items()},
            },
            check_results=check_results(key, [check for check in record.checks if check.name in selected]),
        )
