"""What Dagster shows of a table before any run; all of it comes from the contract."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import dataframely as dy
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from pipelines.checks.definitions import CheckDefinition
from pipelines.contracts.records import CheckRecord
from pipelines.contracts.source import SOURCE_TABLES, SourceTable
from pipelines.contracts.tables import Table

OWNERS = ["team:data-engineering"]


def key_of(layer: str, name: str) -> dg.AssetKey:
    """Asset key: the layer stands first (`source`, `staging`, `exports`, `published`)."""
    return dg.AssetKey([layer, name])


def column_schema(columns: Mapping[str, dy.Column], descriptions: Mapping[str, str]) -> dg.TableSchema:
    """Columns with dtype, description and constraints, for Dagster's Columns tab."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name,
                type=str(column.dtype),
                description=descriptions[name],
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for name, column in columns.items()
        ]
    )


def source_spec(layer: str, table: SourceTable, **more: Any) -> dg.AssetSpec:  # noqa: ANN401  AssetSpec's own arguments
    """Asset of a source table, as it stands in PostgreSQL or in staging."""
    columns = table.schema.columns()
    descriptions = {name: column.description or "" for name, column in columns.items()}
    return dg.AssetSpec(
        key_of(layer, table.name),
        group_name=layer,
        owners=OWNERS,
        metadata={"dagster/column_schema": column_schema(columns, descriptions)},
        **more,
    )


def table_spec(table: Table, deps: Sequence[dg.AssetKey]) -> dg.AssetSpec:
    """Asset of a published table."""
    return dg.AssetSpec(
        key_of("exports", table.name),
        deps=deps,
        group_name="exports",
        kinds={"polars", "parquet"},
        owners=OWNERS,
        description=table.description,
        skippable=True,
        metadata={"dagster/column_schema": column_schema(table.columns, table.column_descriptions)},
    )


def column_lineage(table: Table) -> dg.TableColumnLineage:
    """Where each column's values come from, as the contract says; a column without sources is left out."""
    return dg.TableColumnLineage(
        {name: [_column_dep(source) for source in sources] for name, sources in table.column_sources.items() if sources}
    )


def _column_dep(source: str) -> dg.TableColumnDep:
    name, column = source.split(".")
    layer = "staging" if name in {table.name for table in SOURCE_TABLES} else "exports"
    return dg.TableColumnDep(key_of(layer, name), column)


def check_specs(key: dg.AssetKey, checks: Iterable[CheckDefinition]) -> list[dg.AssetCheckSpec]:
    """Checks of an asset; those of severity `error` block what comes after it."""
    return [
        dg.AssetCheckSpec(check.name, asset=key, description=check.description, blocking=check.severity == "error")
        for check in checks
    ]


def check_results(
    key: dg.AssetKey, checks: Iterable[CheckRecord], found_by: str | None = None
) -> list[dg.AssetCheckResult]:
    """Outcomes of an asset's checks, with what decided them.

    Args:
        found_by: Id of the snapshot whose run found what a record does not say it of.
    """
    severities = {"error": dg.AssetCheckSeverity.ERROR, "warn": dg.AssetCheckSeverity.WARN}
    return [
        dg.AssetCheckResult(
            asset_key=key,
            check_name=check.name,
            passed=check.passed,
            severity=severities[check.severity],
            metadata={name: _value(value) for name, value in _shown(check, found_by).items()},
        )
        for check in checks
    ]


def as_event(
    key: dg.AssetKey,
    result: dg.AssetCheckResult,
    more: Mapping[str, str] | None = None,
    stands_for: AssetCheckEvaluationTargetMaterializationData | None = None,
) -> dg.AssetCheckEvaluation:
    """An outcome of `check_results` as an event, for a step that is not the one that evaluates the check.

    Args:
        more: Metadata besides that of the check.
        stands_for: The materialization that it is about; None: the one of this run.
    """
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=result.check_name or "",
        passed=result.passed,
        severity=result.severity,
        metadata={**(result.metadata or {}), **(more or {})},
        blocking=result.severity == dg.AssetCheckSeverity.ERROR,
        target_materialization_data=stands_for,
    )


def _shown(check: CheckRecord, found_by: str | None) -> dict[str, Any]:
    """What decided a check, the rows that it stands for, and the snapshot whose run found it."""
    stands_for = {"rows": check.rows, "found_by_snapshot": check.found_by or found_by}
    return {**check.metadata, **{name: value for name, value in stands_for.items() if value is not None}}


def plots_metadata(plots: Mapping[str, str]) -> dict[str, dg.MetadataValue[Any]]:
    """Charts on an asset's page, all as one value: Dagster shows Markdown of 1,000 characters and more in a dialog."""
    return {"plots": dg.MetadataValue.md("\n\n".join(plots.values()))} if plots else {}


def _value(value: Any) -> Any:  # noqa: ANN401  what Dagster takes as metadata
    if value is None or isinstance(value, (bool, int, float, str)):
        return dg.MetadataValue.null() if value is None else value
    return dg.MetadataValue.json(value)
