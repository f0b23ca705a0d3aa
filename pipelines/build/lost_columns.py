"""Known columns that the source had and has no more: their values would be replaced by NULL without a word."""

import polars as pl

from pipelines.checks.definitions import columns_kept_check
from pipelines.contracts.records import CheckRecord, SourceRecord, StagingRecord
from pipelines.contracts.tables import segmented_tables
from pipelines.errors import SnapshotError
from pipelines.snapshots.opening import Snapshot


def find_lost_columns(
    published: Snapshot | None, source: SourceRecord, *, accepted: bool
) -> dict[str, tuple[str, ...]]:
    """Known columns that the source lacks, and that held values when they were last there.

    A column stays lost in all later snapshots, until it is back or the operator accepts it.

    Args:
        published: The published snapshot; None: nothing is published.
        source: The source as it is now; another one than the published one is not compared.
        accepted: The operator accepts that columns are gone.

    Returns:
        Their names by source table, tables without any left out.
    """
    if published is None or accepted or published.manifest.source.identity != source.identity:
        return {}
    manifest = published.manifest
    lost: dict[str, tuple[str, ...]] = {}
    for name, now in source.relations.items():
        before = manifest.source.relations.get(name)
        lost_before = manifest.lost_columns.get(name, ())
        gone = [
            column
            for column in now.absent
            if column in lost_before
            or (before is not None and column not in before.absent and _held_values(published, name, column))
        ]
        if gone:
            lost[name] = tuple(gone)
    return lost


def columns_kept_checks(record: StagingRecord) -> list[CheckRecord]:
    """The check of each source table, by what a staging knows."""
    return [
        columns_kept_check(name).result(
            passed=name not in record.lost_columns,
            lost=list(record.lost_columns.get(name, ())),
            # One of these may be the same column under another name.
            unknown_columns=list(relation.unknown),
        )
        for name, relation in record.source.relations.items()
    ]


def _held_values(published: Snapshot, source_table: str, column: str) -> bool:
    """Whether any row of a snapshot has a value that is taken from a source column; True where it can't be read."""
    for table in segmented_tables(include_full_data=published.manifest.include_full_data):
        names = [name for name, sources in table.column_sources.items() if f"{source_table}.{column}" in sources]
        if not names or table.name not in published.table_names:
            continue
        try:
            rows = published.scan(table.name)
            # An older version may not have published the column.
            has_value = [pl.col(name).is_not_null().any() for name in names if name in rows.collect_schema()]
            if has_value and rows.select(pl.any_horizontal(has_value)).collect().item():
                return True
        except (SnapshotError, OSError, pl.exceptions.PolarsError):
            return True
    return False
