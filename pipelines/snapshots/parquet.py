"""The Parquet files of a table: written so that the same rows always give the same bytes (DESIGN 4), and checked."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from pipelines.contracts.records import CheckRecord, FileRecord
from pipelines.contracts.tables import Table
from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.errors import ContractError, PublishError
from pipelines.snapshots.comparison import check
from pipelines.snapshots.opening import Snapshot
from pipelines.snapshots.table_changes import TableChanges, whole
from pipelines.system.files import DISK_FULL_FIX, Digests, sync_file, write_failure, written_beside

# zstd 1: levels 1 and 3 give the same size, uncompressed is 4 times as large (FACTS 4.3).
_COMPRESSION_LEVEL = 1
# Rows are sorted by domain_id, so a reader of one domain takes one row group: 25,000 of a segment's 250,000 candidates
# instead of all. Smaller ones gain nothing: 10,000 took as long to search and made the file 0.5 % larger.
_ROWS_PER_GROUP = 25_000
_PROBE_BYTES = 1_048_576
# Rows of the sort columns that are in memory at a time: three columns are 16 to 40 MB.
_ROWS_PER_SLICE = 1_000_000
_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)  # what Polars makes of bad bytes
_FULL_TEXTS = ("No space left", "File too large", "quota exceeded")


def write_parquet(
    frame: pl.LazyFrame | pl.DataFrame,
    path: Path,
    *,
    table: Table,
    segment: int | None,
    digests: Digests | None = None,
) -> FileRecord:
    """Write rows of a table to one file: beside its target, synced, then renamed over it.

    Args:
        frame: Rows in the table's sort order; none gives a file without rows and with all columns.
        path: The file, in a folder named like the table, created where missing.
        digests: Where the file's digest is kept for the rest of the run.

    Returns:
        What the manifest says of the file; its path is `<table>/<file name>`.

    Raises:
        ContractError: Columns, their order or their types are not the table's.
        PublishError: The file could not be written.
    """
    lazy = frame.lazy()
    _require_schema(lazy, table)
    what = f"{table.name}/{path.name} could not be written"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(path) as beside:
            try:
                lazy.sink_parquet(
                    beside,
                    compression="zstd",
                    compression_level=_COMPRESSION_LEVEL,
                    statistics=True,
                    row_group_size=_ROWS_PER_GROUP,
                    maintain_order=True,
                    metadata=footer(table, segment),
                )
            except pl.exceptions.PolarsError as error:
                _raise_if_disk_failed(what, beside, error)
                raise
            rows = pl.scan_parquet(beside, glob=False, hive_partitioning=False).select(pl.len()).collect().item()
            return FileRecord(
                path=f"{table.name}/{path.name}",
                segment=segment,
                rows=rows,
                bytes=beside.stat().st_size,
                sha256=(digests or Digests()).of(beside),
            )
    except OSError as error:
        raise write_failure(what, error) from error


def footer(table: Table, segment: int | None) -> dict[str, str]:
    """What a file says of itself: never a run or a time, so that unchanged rows give an unchanged file."""
    return {
        "lei_exports.contract_version": CONTRACT_VERSION,
        "lei_exports.table": table.name,
        "lei_exports.segment": "all" if segment is None else str(segment),
    }


def _raise_if_disk_failed(what: str, beside: Path, error: pl.exceptions.PolarsError) -> None:
    """Tell a disk that refused from a frame that can't be computed: Polars hides the system's error number.

    Some of its messages name the cause, others say `transport error` only; then writing on shows it.
    """
    if any(text in str(error) for text in _FULL_TEXTS):
        raise PublishError(what, found="no room on the disk", fix=DISK_FULL_FIX) from None
    try:
        with beside.open("ab") as file:
            file.write(bytes(_PROBE_BYTES))
        sync_file(beside)
    except OSError as probe:
        raise write_failure(what, probe) from None


def _require_schema(frame: pl.LazyFrame, table: Table) -> None:
    expected = list(table.polars_schema.items())
    found = list(frame.collect_schema().items())
    if found == expected:
        return
    wanted, given = dict(expected), dict(found)
    missing = [name for name in wanted if name not in given]
    extra = [name for name in given if name not in wanted]
    retyped = [f"{n} {wanted[n]} (found {given[n]})" for n in wanted if n in given and wanted[n] != given[n]]
    parts = [
        f"{label}: {', '.join(names)}"
        for label, names in (("missing", missing), ("not in the contract", extra), ("other type", retyped))
        if names
    ]
    raise ContractError(
        f"Columns of {table.name} are not those of its contract",
        expected=f"{len(expected)} columns of contract {CONTRACT_VERSION} in its order",
        found="; ".join(parts) or "the same columns in another order",
        fix="correct the transform that builds the table, or the contract",
    )


def verify_parquet(snapshot: Snapshot, table: Table, changes: TableChanges | None = None) -> list[CheckRecord]:
    """Check a table's Parquet files: each has the contract's columns and its own rows; all are in sort order.

    Args:
        changes: The files to look at; None: all. The order of segments follows from every row being in its own.
    """
    record = snapshot.record_of(table.name)
    changes = changes or whole(table, record, snapshot.manifest.segmentation)
    files = changes.files
    expected = list(table.polars_schema.items())
    other_columns, other_rows, unreadable = [], [], []
    for file in files:
        scan = pl.scan_parquet(snapshot.folder / file.path, glob=False, hive_partitioning=False)
        try:
            if list(scan.collect_schema().items()) != expected:
                other_columns.append(file.path)
            elif not _has_its_rows(scan, file, changes):
                other_rows.append(file.path)
        except _UNREADABLE:
            unreadable.append(file.path)
    descents: dict[Path, int] = {}
    if not other_columns and not unreadable:
        try:
            descents = count_descents([snapshot.folder / file.path for file in files], table.sort_by)
        except _UNREADABLE as error:
            unreadable.append(type(error).__name__)
    counts_agree = not other_rows and sum(file.rows for file in record.files) == record.rows
    unsorted = {path.name: count for path, count in descents.items()}
    return [
        check(
            table.name,
            "parquet_columns",
            passed=not other_columns and not unreadable,
            metadata={"files": len(files), "other_columns": other_columns, "unreadable": unreadable},
        ),
        check(table.name, "parquet_rows", passed=counts_agree, metadata={"rows": record.rows, "differs": other_rows}),
        check(table.name, "parquet_sorted", passed=not unsorted, metadata={"rows_out_of_order": unsorted}),
    ]


def count_descents(files: Sequence[Path], sort_by: Sequence[str]) -> dict[Path, int]:
    """Rows that stand before their predecessor in sort order, over several files read one after the other.

    Args:
        files: Parquet files in name order.
        sort_by: Columns of the order, ascending with NULL last, texts by their bytes.

    Returns:
        Count by file, only of files where it is not zero.

    Raises:
        polars.exceptions.PolarsError, OSError: A file can't be read.
    """
    descents: dict[Path, int] = {}
    before: pl.DataFrame | None = None
    for file in files:
        scan = pl.scan_parquet(file, glob=False, hive_partitioning=False).select(sort_by)
        for offset in range(0, scan.select(pl.len()).collect().item(), _ROWS_PER_SLICE):
            rows = scan.slice(offset, _ROWS_PER_SLICE).collect()
            joined = rows if before is None else pl.concat([before, rows])
            count = joined.select(_descends(sort_by).slice(1).sum()).item()
            if count:
                descents[file] = descents.get(file, 0) + count
            before = rows.tail(1)
    return descents


def _descends(sort_by: Sequence[str]) -> pl.Expr:
    descends = pl.lit(value=False)
    for name in reversed(sort_by):
        here, before = pl.col(name), pl.col(name).shift(1)
        greater = (before > here).fill_null(value=False) | (before.is_null() & here.is_not_null())
        descends = greater | (before.eq_missing(here) & descends)
    return descends


def _has_its_rows(scan: pl.LazyFrame, file: FileRecord, of: TableChanges) -> bool:
    """Whether a file has as many rows as its record says, all of them of its segment or key range."""
    if file.segment is None:
        return bool(scan.select(pl.len()).collect().item() == file.rows)
    rows, nulls, first, last = (
        scan.select(
            pl.len(),
            pl.col(of.column).null_count().alias("nulls"),
            pl.col(of.column).min().alias("first"),
            pl.col(of.column).max().alias("last"),
        )
        .collect()
        .row(0)
    )
    if file.segment not in of.bounds or rows != file.rows or nulls:
        return False
    low, high = of.bounds[file.segment]
    return not rows or ((low is None or low <= first) and (high is None or last < high))
