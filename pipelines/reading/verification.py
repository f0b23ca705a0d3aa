"""Whether a snapshot is still what was published: its files, both faces, and that the faces are equal (DESIGN 3.7, 4).

Belongs here: checks of a snapshot on disk, read anew from its files. Does not: repair, or checks of the rows' meaning.
Each part can be run alone; a failed check names files, columns and counts, never a row.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import duckdb
import polars as pl

from pipelines.contracts.records import CheckRecord, FileRecord
from pipelines.contracts.tables import Table, published_tables
from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.errors import SnapshotError
from pipelines.reading.contents import (
    count_descents,
    differing_columns,
    fingerprint,
    parquet_relation,
    table_relation,
)
from pipelines.reading.digests import digests_of
from pipelines.reading.sessions import open_scratch, quoted_text
from pipelines.reading.snapshots import MANIFEST, Snapshot

SNAPSHOT = "snapshot"
Severity = Literal["error", "warn"]
# Hashing needs tens of MB; the rest is room for row groups of wide texts (gleif_full_data is about 5 kB a row).
_MEMORY_MB = 1024
_FACE = "face"
_UNQUERYABLE = (duckdb.Error, UnicodeDecodeError)  # the latter where DuckDB's message quotes damaged bytes
_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)  # what Polars makes of bad bytes


def verify_snapshot(snapshot: Snapshot, tables: Sequence[Table] | None = None) -> list[CheckRecord]:
    """Verify all of a snapshot: every file's digest first, and if these are right both faces.

    Args:
        snapshot: The snapshot.
        tables: What its tables should be; None: this version's contract.

    Returns:
        The checks, all passed.

    Raises:
        SnapshotError: One failed; the message names the files, tables and columns.
    """
    checks = verify_files(snapshot)
    if not failed_checks(checks):
        checks += verify_faces(snapshot, tables)
    raise_failed(checks, f"Snapshot {snapshot.manifest.id} is damaged")
    return checks


def verify_files(snapshot: Snapshot) -> list[CheckRecord]:
    """Compare size and sha256 of every file with the manifest, and look for files that are not in it.

    Returns:
        One check per table and for the DuckDB file, with the names of damaged and missing files; one for stray files.
    """
    manifest = snapshot.manifest
    groups = [(table.name, table.files) for table in manifest.tables] + [(SNAPSHOT, (manifest.database,))]
    checks = []
    for name, files in groups:
        missing = [file for file in files if not (snapshot.folder / file.path).is_file()]
        damaged = _damaged(snapshot.folder, [file for file in files if file not in missing])
        metadata = {
            "files": len(files),
            "bytes": sum(file.bytes for file in files),
            "missing": [file.path for file in missing],
            "damaged": damaged,
        }
        checks.append(_check(name, "files_unchanged", passed=not missing and not damaged, metadata=metadata))
    known = {MANIFEST, *(file.path for _, files in groups for file in files)}
    found = {path.relative_to(snapshot.folder).as_posix() for path in snapshot.folder.rglob("*") if path.is_file()}
    stray = sorted(found - known)
    checks.append(_check(SNAPSHOT, "no_stray_files", passed=not stray, metadata={"stray": stray}))
    return checks


def verify_faces(snapshot: Snapshot, tables: Sequence[Table] | None = None) -> list[CheckRecord]:
    """Reopen both faces: shape, comments, row counts and order as in contract and manifest, contents equal.

    Where the manifest's contract version is another than this program's, shapes can't be judged: the checks that need
    the contract are left out, and a warning says so.

    Args:
        snapshot: The snapshot.
        tables: What its tables should be; None: this version's contract.
    """
    manifest = snapshot.manifest
    if manifest.contract_version != CONTRACT_VERSION:
        metadata = {"published": manifest.contract_version, "this_version": CONTRACT_VERSION}
        return [_check(SNAPSHOT, "contract_is_known", passed=False, metadata=metadata, severity="warn")]
    if tables is None:
        tables = published_tables(include_full_data=manifest.include_full_data)
    known = [table for table in tables if table.name in snapshot.table_names]
    checks = [check for table in known for check in verify_parquet(snapshot, table)]
    return checks + verify_database(snapshot, tables) + [verify_equal(snapshot, table) for table in known]


def verify_parquet(snapshot: Snapshot, table: Table) -> list[CheckRecord]:
    """Check a table's Parquet files: each has the contract's columns and its own rows; all are in sort order."""
    record = snapshot.record_of(table.name)
    expected = list(table.polars_schema.items())
    other_columns, other_rows, unreadable = [], [], []
    for file in record.files:
        path = snapshot.folder / file.path
        try:
            scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
            if list(scan.collect_schema().items()) != expected:
                other_columns.append(file.path)
            rows = scan.select(pl.len()).collect().item()
        except _UNREADABLE:
            unreadable.append(file.path)
            continue
        if rows != file.rows:
            other_rows.append(file.path)
    descents: dict[Path, int] = {}
    if not other_columns and not unreadable:
        try:
            descents = count_descents(snapshot.parquet_files(table.name), table.sort_by)
        except _UNREADABLE as error:
            unreadable.append(type(error).__name__)
    counts_agree = not other_rows and sum(file.rows for file in record.files) == record.rows
    unsorted = {path.name: count for path, count in descents.items()}
    return [
        _check(
            table.name,
            "parquet_columns",
            passed=not other_columns and not unreadable,
            metadata={"other_columns": other_columns, "unreadable": unreadable},
        ),
        _check(table.name, "parquet_rows", passed=counts_agree, metadata={"rows": record.rows, "differs": other_rows}),
        _check(table.name, "parquet_sorted", passed=not unsorted, metadata={"rows_out_of_order": unsorted}),
    ]


def verify_database(snapshot: Snapshot, tables: Sequence[Table]) -> list[CheckRecord]:
    """Check the DuckDB file: exactly these tables, with the contract's columns, types, comments and row counts."""
    try:
        with open_scratch(_MEMORY_MB) as connection:
            _attach(connection, snapshot)
            columns = connection.execute(
                "SELECT table_name, column_name, data_type, is_nullable, comment FROM duckdb_columns()"
                " WHERE database_name = ? ORDER BY table_name, column_index",
                [_FACE],
            ).fetchall()
            comments = dict(
                connection.execute(
                    "SELECT table_name, comment FROM duckdb_tables() WHERE database_name = ?", [_FACE]
                ).fetchall()
            )
            counts = {
                name: connection.execute(f"SELECT count(*) FROM {table_relation(_FACE, name)}").fetchall()[0][0]
                for name in comments
            }
    except _UNQUERYABLE as error:
        metadata = {"file": snapshot.manifest.database.path, "error": type(error).__name__}
        return [_check(SNAPSHOT, "database_opens", passed=False, metadata=metadata)]
    names = {table.name for table in tables}
    differing = {"missing": sorted(names - comments.keys()), "unexpected": sorted(comments.keys() - names)}
    checks = [_check(SNAPSHOT, "database_tables", passed=names == comments.keys(), metadata=differing)]
    for table in tables:
        if table.name in comments:
            shape = [row[1:] for row in columns if row[0] == table.name]
            checks += _database_checks(snapshot, table, shape, comments[table.name], counts[table.name])
    return checks


def verify_equal(snapshot: Snapshot, table: Table) -> CheckRecord:
    """Check that a table holds the same rows in DuckDB and in Parquet, cell by cell (order-independent hashes)."""
    relation = table_relation(_FACE, table.name)
    files, parameters = parquet_relation(snapshot.parquet_files(table.name))
    try:
        with open_scratch(_MEMORY_MB) as connection:
            _attach(connection, snapshot)
            in_duckdb = fingerprint(connection, relation, table.duckdb_types)
            in_parquet = fingerprint(connection, files, table.duckdb_types, parameters)
            metadata: dict[str, Any] = {"rows_duckdb": in_duckdb.rows, "rows_parquet": in_parquet.rows}
            if in_duckdb != in_parquet:
                metadata["columns"] = differing_columns(connection, table, relation, files, parameters)
            return _check(table.name, "faces_equal", passed=in_duckdb == in_parquet, metadata=metadata)
    except _UNQUERYABLE as error:
        return _check(table.name, "faces_equal", passed=False, metadata={"error": type(error).__name__})


def failed_checks(checks: Sequence[CheckRecord]) -> list[CheckRecord]:
    """Those that failed and block."""
    return [check for check in checks if not check.passed and check.severity == "error"]


def raise_failed(checks: Sequence[CheckRecord], what: str) -> None:
    """Raise if a blocking check failed.

    Args:
        checks: The checks.
        what: What is wrong then, the first words of the error.

    Raises:
        SnapshotError: Names every failed check with what decided it.
    """
    failed = failed_checks(checks)
    if failed:
        found = "; ".join(
            f"{check.table}.{check.name} ({', '.join(f'{k}: {v}' for k, v in check.metadata.items() if v)})"
            for check in failed
        )
        raise SnapshotError(what, expected="every check passes", found=found, fix="use another snapshot, export again")


def _database_checks(
    snapshot: Snapshot, table: Table, shape: list[tuple[str, str, bool, str | None]], comment: str | None, rows: int
) -> list[CheckRecord]:
    expected = {name: (kind, name not in table.required) for name, kind in table.duckdb_types.items()}
    found = {name: (kind, nullable) for name, kind, nullable, _ in shape}
    differs = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    in_order = list(expected) == list(found)
    described = {name: text for name, _, _, text in shape}
    uncommented = [name for name, text in table.column_descriptions.items() if described.get(name) != text]
    of_table = comment == table.description
    published = snapshot.record_of(table.name).rows
    return [
        _check(
            table.name,
            "database_columns",
            passed=not differs and in_order,
            metadata={"differs": differs, "other_order": not in_order},
        ),
        _check(
            table.name,
            "database_comments",
            passed=of_table and not uncommented,
            metadata={"columns": uncommented, "table_comment_differs": not of_table},
        ),
        _check(
            table.name, "database_rows", passed=rows == published, metadata={"rows": rows, "rows_manifest": published}
        ),
    ]


def _attach(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
    connection.execute(f"ATTACH {quoted_text(str(snapshot.database_path))} AS {_FACE} (READ_ONLY)")


def _damaged(folder: Path, files: Sequence[FileRecord]) -> list[str]:
    sized = [file for file in files if (folder / file.path).stat().st_size == file.bytes]
    digests = digests_of([folder / file.path for file in sized])
    intact = {file.path for file, digest in zip(sized, digests, strict=True) if digest == file.sha256}
    return [file.path for file in files if file.path not in intact]


def _check(
    table: str, name: str, *, passed: bool, metadata: dict[str, Any], severity: Severity = "error"
) -> CheckRecord:
    return CheckRecord(table=table, name=name, passed=passed, severity=severity, metadata=metadata)
