"""The third stage of a run that reuses segments: a file of a derived table, with the rows of some keys replaced."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipelines.build.staging import StagingFolder
from pipelines.build.table_build import TablePart, file_name, timed
from pipelines.checks.evaluation import TableChecks
from pipelines.contracts.tables import Table
from pipelines.snapshots.opening import Snapshot
from pipelines.snapshots.parquet import write_parquet


@dataclass(frozen=True)
class PatchTask:
    """A file to write again.

    Attributes:
        number: The key range; None: all rows of the table.
        old: The published file; None: the range has none.
        keys: Keys whose rows in it no longer count.
    """

    staging: StagingFolder
    table: Table
    number: int | None
    old: Path | None
    keys: pl.Series
    rows: pl.DataFrame


def plan_patch(
    table: Table, staging: StagingFolder, base: Snapshot, keys: pl.Series, rows: pl.DataFrame
) -> list[PatchTask]:
    """Which files of a published derived table are to be written again: those that hold one of some keys.

    Args:
        keys: Keys whose rows in the snapshot no longer count.
        rows: Their rows now, sorted.
    """
    record = base.record_of(table.name)
    (key,) = table.key
    cuts = pl.Series(record.cuts, dtype=pl.String)
    # A table of one file is not cut: all keys are in its range, 0.
    stale, new = _by_range(keys.to_frame(key), key, cuts), _by_range(rows, key, cuts)
    old = {file.segment or 0: base.folder / file.path for file in record.files}
    return [
        PatchTask(
            staging=staging,
            table=table,
            number=number if table.range_key else None,
            old=old.get(number),
            keys=stale[number][key] if number in stale else keys.clear(),
            rows=new.get(number, rows.clear()),
        )
        for number in sorted(stale.keys() | new.keys())
    ]


def patch_range(task: PatchTask) -> TablePart:
    """Write a file again; only the rows that are new are checked.

    Raises:
        PublishError: The file can't be written.
    """
    checks, timings = TableChecks(task.table), dict[str, float]()
    (key,) = task.table.key
    rows = task.rows
    if not rows.is_empty():
        checks.update(rows)
    if task.old is not None:
        with timed(timings, "reuse"):
            old = pl.read_parquet(task.old, glob=False, hive_partitioning=False)
            old = old.filter(~pl.col(key).is_in(task.keys.implode()))
            rows = pl.concat([old, rows]).sort(key, nulls_last=True)
    if rows.is_empty():
        return TablePart(None, checks, {}, timings)
    path = task.staging.tables_dir / task.table.name / file_name(task.table, task.number)
    with timed(timings, "write"):
        file = write_parquet(rows, path, table=task.table, segment=task.number)
    return TablePart(file, checks, {}, timings)


def _by_range(rows: pl.DataFrame, key: str, cuts: pl.Series) -> dict[int, pl.DataFrame]:
    """Rows by the range that their key is in, in their order."""
    numbers = cuts.search_sorted(rows[key], side="right").cast(pl.Int64)
    parts = rows.with_columns(numbers.alias("__range")).partition_by(
        "__range", as_dict=True, include_key=False, maintain_order=True
    )
    return {int(number): part for (number,), part in parts.items()}
