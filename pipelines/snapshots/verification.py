"""Whether a snapshot is what was published: its files, and that DuckDB and Parquet are equal (DESIGN 3.7, 4)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.contracts.records import CheckRecord, FileRecord
from pipelines.contracts.tables import Table, published_tables
from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.errors import SnapshotError
from pipelines.snapshots.comparison import (
    DEFAULT_MEMORY_MB,
    SNAPSHOT,
    AttachedDatabase,
    check,
    verify_database,
    verify_equal,
    verify_info,
)
from pipelines.snapshots.opening import MANIFEST, Snapshot
from pipelines.snapshots.parquet import verify_parquet
from pipelines.snapshots.table_changes import TableChanges
from pipelines.system.files import Digests

_OUT_OF_MEMORY = "OutOfMemoryException"


def check_snapshot(snapshot: Snapshot, memory_mb: int = DEFAULT_MEMORY_MB) -> list[CheckRecord]:
    """Verify all of a snapshot: every file's digest first, and if these are right both formats."""
    checks = verify_files(snapshot)
    if not failed_checks(checks):
        checks += compare_duckdb_and_parquet(snapshot, memory_mb=memory_mb)
    return checks


def verify_snapshot(snapshot: Snapshot) -> list[CheckRecord]:
    """Verify all of a snapshot, and raise where it is damaged.

    Raises:
        SnapshotError: One failed; the message names the files, tables and columns.
    """
    checks = check_snapshot(snapshot)
    raise_failed(checks, f"Snapshot {snapshot.manifest.id} is damaged")
    return checks


def verify_files(snapshot: Snapshot, digests: Digests | None = None) -> list[CheckRecord]:
    """Compare size and sha256 of every file with the manifest, and look for files that are not in it.

    Args:
        digests: Those that a run knows; None: every file is read.

    Returns:
        One check per table and one for the other files, with the names of damaged and missing ones; one for strays.
    """
    manifest = snapshot.manifest
    groups = [(table.name, table.files) for table in manifest.tables]
    groups.append((SNAPSHOT, (manifest.database, *manifest.extras)))
    checks = []
    for name, files in groups:
        missing = [file.path for file in files if not (snapshot.folder / file.path).is_file()]
        present = [file for file in files if file.path not in missing]
        damaged = _damaged(snapshot.folder, present, digests or Digests())
        metadata = {
            "files": len(files),
            "bytes": sum(file.bytes for file in files),
            "missing": missing,
            "damaged": damaged,
        }
        checks.append(check(name, "files_unchanged", passed=not missing and not damaged, metadata=metadata))
    known = {MANIFEST, *(file.path for _, files in groups for file in files)}
    found = {path.relative_to(snapshot.folder).as_posix() for path in snapshot.folder.rglob("*") if path.is_file()}
    stray = sorted(found - known)
    checks.append(check(SNAPSHOT, "no_stray_files", passed=not stray, metadata={"stray": stray}))
    return checks


def compare_duckdb_and_parquet(
    snapshot: Snapshot,
    tables: Sequence[Table] | None = None,
    changes: Mapping[str, TableChanges] | None = None,
    memory_mb: int = DEFAULT_MEMORY_MB,
) -> list[CheckRecord]:
    """Reopen both formats: shape, comments, row counts and order as in contract and manifest, contents equal.

    Where the manifest's contract version is another than this program's, shapes can't be compared: the checks that need
    the contract are left out, and a warning says so.

    Args:
        tables: What its tables should be; None: this version's contract.
        changes: Per table the part whose files and rows are looked at; the rest must have been reused from a
            snapshot by verified copies. Shape, comments and counts are always those of the whole. None: everything.
    """
    manifest = snapshot.manifest
    if manifest.contract_version != CONTRACT_VERSION:
        metadata = {"published": manifest.contract_version, "this_version": CONTRACT_VERSION}
        return [check(SNAPSHOT, "contract_is_known", passed=False, metadata=metadata, severity="warn")]
    if tables is None:
        tables = published_tables(include_full_data=manifest.include_full_data)
    changes = changes or {}
    known = [table for table in tables if table.name in snapshot.table_names]
    checks = [found for table in known for found in verify_parquet(snapshot, table, changes.get(table.name))]
    with AttachedDatabase(snapshot, memory_mb) as attached:
        checks += [*verify_database(attached, tables), verify_info(attached)]
        return checks + [verify_equal(attached, table, changes.get(table.name)) for table in known]


def failed_checks(checks: Sequence[CheckRecord]) -> list[CheckRecord]:
    """Those that failed and block."""
    return [check for check in checks if not check.passed and check.severity == "error"]


def lacks_memory(checks: Sequence[CheckRecord]) -> bool:
    """Whether checks failed, and only because DuckDB had too little memory for them."""
    failed = failed_checks(checks)
    return bool(failed) and all(check.metadata.get("error") == _OUT_OF_MEMORY for check in failed)


def raise_failed(checks: Sequence[CheckRecord], what: str, fix: str = "use another snapshot, export again") -> None:
    """Raise if a blocking check failed.

    Args:
        what: What is wrong then, the first words of the error.

    Raises:
        SnapshotError: Names every failed check with what decided it.
    """
    failed = failed_checks(checks)
    if lacks_memory(checks):
        raise SnapshotError(
            "DuckDB needs more memory to verify a snapshot",
            expected="that DATABASE_MEMORY_MB, and half as much more, is enough",
            found=f"{_OUT_OF_MEMORY} in {', '.join(check.table for check in failed)}",
            fix="a row is very large: set DATABASE_MEMORY_MB to six times its size",
        )
    if failed:
        raise SnapshotError(
            what,
            expected="every check passes",
            found="; ".join(describe_check(check) for check in failed),
            fix=fix,
        )


def describe_check(check: CheckRecord) -> str:
    """A check with what decided it, in one line."""
    decided = ", ".join(f"{name}: {value}" for name, value in check.metadata.items() if value)
    return f"{check.table}.{check.name} ({decided})"


def _damaged(folder: Path, files: Sequence[FileRecord], digests: Digests) -> list[str]:
    sized = [file for file in files if (folder / file.path).stat().st_size == file.bytes]
    found = digests.of_all(folder / file.path for file in sized)
    intact = {file.path for file, digest in zip(sized, found, strict=True) if digest == file.sha256}
    return [file.path for file in files if file.path not in intact]
