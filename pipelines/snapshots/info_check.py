"""The check of snapshot_info: what exports.duckdb says of itself is what the manifest says."""

import duckdb

from pipelines.contracts.records import CheckRecord
from pipelines.contracts.snapshot_info import INFO_COLUMNS, INFO_DESCRIPTION, SNAPSHOT_INFO, SnapshotInfo
from pipelines.snapshots.comparison import FACE, SNAPSHOT, DatabaseFace, check
from pipelines.snapshots.content_hash import table_relation
from pipelines.snapshots.duckdb_connections import quoted


def verify_info(face: DatabaseFace) -> CheckRecord:
    """Check that snapshot_info is one row with the manifest's values, with the contract's columns and comments."""
    try:
        with face.session() as connection:
            is_described = _is_described(connection)
            same = _compare(connection, SnapshotInfo.of(face.snapshot.manifest))
    except (duckdb.Error, UnicodeDecodeError) as error:  # the latter where a message quotes damaged bytes
        return check(SNAPSHOT, "snapshot_info", passed=False, metadata={"error": type(error).__name__})
    differs = sorted({name for row in same for name, is_same in zip(INFO_COLUMNS, row, strict=True) if not is_same})
    metadata = {"rows": len(same), "differs": differs, "other_columns_or_comments": not is_described}
    return check(SNAPSHOT, "snapshot_info", passed=len(same) == 1 and not differs and is_described, metadata=metadata)


def _is_described(connection: duckdb.DuckDBPyConnection) -> bool:
    columns = connection.execute(
        "SELECT column_name, data_type, is_nullable, comment FROM duckdb_columns()"
        " WHERE database_name = ? AND table_name = ? ORDER BY column_index",
        [FACE, SNAPSHOT_INFO],
    ).fetchall()
    comments = connection.execute(
        "SELECT comment FROM duckdb_tables() WHERE database_name = ? AND table_name = ?", [FACE, SNAPSHOT_INFO]
    ).fetchall()
    wanted = [(name, column.kind, False, column.description) for name, column in INFO_COLUMNS.items()]
    return (columns, comments) == (wanted, [(INFO_DESCRIPTION,)])


def _compare(connection: duckdb.DuckDBPyConnection, info: SnapshotInfo) -> list[tuple[bool, ...]]:
    """Per row, whether each cell is what it must be; of two rows and more, two."""
    cells = ", ".join(
        f"{quoted(name)} IS NOT DISTINCT FROM CAST(? AS {column.kind})" for name, column in INFO_COLUMNS.items()
    )
    query = f"SELECT {cells} FROM {table_relation(FACE, SNAPSHOT_INFO)} LIMIT 2"
    return connection.execute(query, list(info.values)).fetchall()
