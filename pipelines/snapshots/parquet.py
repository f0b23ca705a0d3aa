"""One Parquet file of a table, written so that the same rows always give the same bytes (DESIGN 4)."""

from pathlib import Path

import polars as pl

from pipelines.contracts.records import FileRecord
from pipelines.contracts.tables import Table
from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.errors import ContractError, PublishError
from pipelines.system.files import DISK_FULL_FIX, Digests, sync_file, write_failure, written_beside

# zstd 1: levels 1 and 3 give the same size, uncompressed is 4 times as large (FACTS 4.3).
_COMPRESSION_LEVEL = 1
# Rows are sorted by domain_id, so a reader of one domain takes one row group: 25,000 of a segment's 250,000 candidates
# instead of all. Smaller ones gain nothing: 10,000 took as long to search and made the file 0.5 % larger.
_ROWS_PER_GROUP = 25_000
_PROBE_BYTES = 1_048_576
_FULL_TEXTS = ("No space left", "File too large", "quota exceeded")


def write_parquet(
    frame: pl.LazyFrame | pl.DataFrame,
    path: Path,
    *,
    table: Table,
    segment: int | None,
    digests: Digests | None = None,
) -> FileRecord:
    """Write rows of a table to one file: next to its target, synced, then renamed over it.

    Args:
        frame: Rows in the table's sort order; none gives a file without rows and with all columns.
        path: The file, in a folder named like the table, created where missing.
        table: What the rows are.
        segment: Their segment, None for all rows of the table.
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
        with written_beside(path) as temporary:
            try:
                lazy.sink_parquet(
                    temporary,
                    compression="zstd",
                    compression_level=_COMPRESSION_LEVEL,
                    statistics=True,
                    row_group_size=_ROWS_PER_GROUP,
                    maintain_order=True,
                    metadata=footer(table, segment),
                )
            except pl.exceptions.PolarsError as error:
                _raise_if_disk_failed(what, temporary, error)
                raise
            rows = pl.scan_parquet(temporary, glob=False, hive_partitioning=False).select(pl.len()).collect().item()
            return FileRecord(
                path=f"{table.name}/{path.name}",
                segment=segment,
                rows=rows,
                bytes=temporary.stat().st_size,
                sha256=(digests or Digests()).of(temporary),
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


def _raise_if_disk_failed(what: str, temporary: Path, error: pl.exceptions.PolarsError) -> None:
    """Tell a disk that refused from a frame that can't be computed: Polars hides the system's error number.

    Some of its messages name the cause, others say `transport error` only; then writing on shows it.
    """
    if any(text in str(error) for text in _FULL_TEXTS):
        raise PublishError(what, found="no room on the disk", fix=DISK_FULL_FIX) from None
    try:
        with temporary.open("ab") as file:
            file.write(bytes(_PROBE_BYTES))
        sync_file(temporary)
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
