"""Checks of the DuckDB file of a snapshot: its shape, its rows, and that it holds the same as the Parquet files.

A failed check names files, columns and counts, never a row.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Self

import duckdb

from pipelines.contracts.records import CheckRecord
from pipelines.contracts.tables import Table
from pipelines.contracts.views import INFO_COLUMNS, INFO_DESCRIPTION, SNAPSHOT_INFO, SnapshotInfo, views_of
from pipelines.snapshots.duckdb_connections import (
    Fingerprint,
    fingerprint,
    open_scratch,
    parquet_relation,
    quoted,
    quoted_text,
    table_relation,
)
from pipelines.snapshots.opening import Snapshot
from pipelines.snapshots.table_changes import TableChanges, whole

SNAPSHOT = "snapshot"
Severity = Literal["error", "warn"]
# Hashing needs tens of MB; the rest is room for row groups of wide texts (gleif_full_data is about 5 kB a row). What
# it gets it takes: 580 MB resident with 1024, 520 with 512, 310 with 128, in the same time.
DEFAULT_MEMORY_MB = 384
ATTACHED = "attached"
# Comment of a view; name, type and comment of each of its columns.
_ViewShape = tuple[str | None, list[tuple[str, str, str | None]]]
_UNQUERYABLE = (duckdb.Error, UnicodeDecodeError)  # the latter where DuckDB's message quotes damaged bytes


class AttachedDatabase:
    """A snapshot's DuckDB file, looked at in one session by several checks: to open one for each took 20 ms a table.

    Opened when it is first needed, and again after an error: what one check finds of a damaged file is not held against
    the others.
    """

    def __init__(self, snapshot: Snapshot, memory_mb: int = DEFAULT_MEMORY_MB) -> None:
        """Open nothing yet.

        Args:
            memory_mb: DuckDB's memory, MB.
        """
        self.snapshot = snapshot
        self._memory_mb = memory_mb
        self._session: duckdb.DuckDBPyConnection | None = None

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the session."""
        if self._session is not None:
            self._session.close()
            self._session = None

    @contextmanager
    def session(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A session with the file attached as `attached`.

        Raises:
            duckdb.Error: The file can't be opened; or whatever the block raises.
        """
        try:
            if self._session is None:
                self._session = open_scratch(self._memory_mb)
                path = quoted_text(str(self.snapshot.database_path))
                self._session.execute(f"ATTACH {path} AS {ATTACHED} (READ_ONLY)")
            yield self._session
        except BaseException:
            self.__exit__()
            raise


def verify_database(attached: AttachedDatabase, tables: Sequence[Table]) -> list[CheckRecord]:
    """Check the DuckDB file: exactly these tables and views, with the contract's columns, types, comments, rows."""
    snapshot = attached.snapshot
    try:
        with attached.session() as connection:
            columns = connection.execute(
                "SELECT table_name, column_name, data_type, is_nullable, comment FROM duckdb_columns()"
                " WHERE database_name = ? ORDER BY table_name, column_index",
                [ATTACHED],
            ).fetchall()
            comments = dict(
                connection.execute(
                    "SELECT table_name, comment FROM duckdb_tables() WHERE database_name = ?", [ATTACHED]
                ).fetchall()
            )
            counts = {
                name: connection.execute(f"SELECT count(*) FROM {table_relation(ATTACHED, name)}").fetchall()[0][0]
                for name in comments
            }
            views = _views(connection)
    except _UNQUERYABLE as error:
        metadata = {"file": snapshot.manifest.database.path, "error": type(error).__name__}
        return [check(SNAPSHOT, "database_opens", passed=False, metadata=metadata)]
    names = {SNAPSHOT_INFO, *(table.name for table in tables)}
    differing = {"missing": sorted(names - comments.keys()), "unexpected": sorted(comments.keys() - names)}
    checks = [check(SNAPSHOT, "database_tables", passed=names == comments.keys(), metadata=differing)]
    checks.append(_views_check(views, tables))
    for table in tables:
        if table.name in comments:
            shape = [row[1:] for row in columns if row[0] == table.name]
            checks += _database_checks(snapshot, table, shape, comments[table.name], counts[table.name])
    return checks


def verify_info(attached: AttachedDatabase) -> CheckRecord:
    """Check that snapshot_info is one row with the manifest's values, with the contract's columns and comments."""
    try:
        with attached.session() as connection:
            is_described = _is_described(connection)
            same = _compare(connection, SnapshotInfo.of(attached.snapshot.manifest))
    except (duckdb.Error, UnicodeDecodeError) as error:  # the latter where a message quotes damaged bytes
        return check(SNAPSHOT, "snapshot_info", passed=False, metadata={"error": type(error).__name__})
    differs = sorted({name for row in same for name, is_same in zip(INFO_COLUMNS, row, strict=True) if not is_same})
    metadata = {"rows": len(same), "differs": differs, "other_columns_or_comments": not is_described}
    return check(SNAPSHOT, "snapshot_info", passed=len(same) == 1 and not differs and is_described, metadata=metadata)


def _is_described(connection: duckdb.DuckDBPyConnection) -> bool:
    columns = connection.execute(
        "SELECT column_name, data_type, is_nullable, comment FROM duckdb_columns()"
        " WHERE database_name = ? AND table_name = ? ORDER BY column_index",
        [ATTACHED, SNAPSHOT_INFO],
    ).fetchall()
    comments = connection.execute(
        "SELECT comment FROM duckdb_tables() WHERE database_name = ? AND table_name = ?", [ATTACHED, SNAPSHOT_INFO]
    ).fetchall()
    wanted = [(name, column.kind, False, column.description) for name, column in INFO_COLUMNS.items()]
    return (columns, comments) == (wanted, [(INFO_DESCRIPTION,)])


def _compare(connection: duckdb.DuckDBPyConnection, info: SnapshotInfo) -> list[tuple[bool, ...]]:
    """Per row, whether each cell is what it must be; of two rows and more, two."""
    cells = ", ".join(
        f"{quoted(name)} IS NOT DISTINCT FROM CAST(? AS {column.kind})" for name, column in INFO_COLUMNS.items()
    )
    query = f"SELECT {cells} FROM {table_relation(ATTACHED, SNAPSHOT_INFO)} LIMIT 2"
    return connection.execute(query, list(info.values)).fetchall()


def verify_equal(attached: AttachedDatabase, table: Table, changes: TableChanges | None = None) -> CheckRecord:
    """Check that a table holds the same rows in DuckDB and in Parquet, cell by cell (order-independent hashes).

    Args:
        attached: The DuckDB file of the snapshot.
        changes: The rows to compare; None: all.
    """
    snapshot = attached.snapshot
    record = snapshot.record_of(table.name)
    changes = changes or whole(table, record, snapshot.manifest.segmentation)
    relation, kinds = table_relation(ATTACHED, table.name), table.duckdb_types
    files, parameters = parquet_relation([snapshot.folder / file.path for file in changes.files])
    try:
        with attached.session() as connection:
            in_duckdb = fingerprint(connection, relation, kinds, condition=changes.condition)
            in_parquet = Fingerprint(0, 0, 0)
            if changes.files:
                in_parquet = fingerprint(connection, files, kinds, parameters)
            metadata: dict[str, Any] = {"rows_duckdb": in_duckdb.rows, "rows_parquet": in_parquet.rows}
            if changes.parts is not None:
                metadata["files"] = len(changes.files)
            if in_duckdb != in_parquet and changes.files:
                left = (relation, changes.condition)
                metadata["columns"] = _differing_columns(connection, table, left, files, parameters)
            return check(table.name, "faces_equal", passed=in_duckdb == in_parquet, metadata=metadata)
    except _UNQUERYABLE as error:
        return check(table.name, "faces_equal", passed=False, metadata={"error": type(error).__name__})


def _differing_columns(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    left: tuple[str, str],
    right: str,
    parameters: Sequence[object],
) -> list[str]:
    """Columns whose values differ between two relations, each hashed with the key; slow, for the error only.

    Args:
        connection: Where both can be read.
        table: What both should hold.
        left: Relation without parameters, and the condition of the rows that count there.
        right: Relation with parameters.
        parameters: Parameters of `right`.
    """
    types = table.duckdb_types
    differing = []
    for name in types:
        columns = {column: types[column] for column in dict.fromkeys((*table.key, name))}
        in_left = fingerprint(connection, left[0], columns, condition=left[1])
        if in_left != fingerprint(connection, right, columns, parameters):
            differing.append(name)
    return differing


def check(
    table: str, name: str, *, passed: bool, metadata: dict[str, Any], severity: Severity = "error"
) -> CheckRecord:
    """The record of a check of a snapshot."""
    return CheckRecord(table=table, name=name, passed=passed, severity=severity, metadata=metadata)


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
        check(
            table.name,
            "database_columns",
            passed=not differs and in_order,
            metadata={"differs": differs, "other_order": not in_order},
        ),
        check(
            table.name,
            "database_comments",
            passed=of_table and not uncommented,
            metadata={"columns": uncommented, "table_comment_differs": not of_table},
        ),
        check(
            table.name, "database_rows", passed=rows == published, metadata={"rows": rows, "rows_manifest": published}
        ),
    ]


def _views_check(views: dict[str, _ViewShape | None], tables: Sequence[Table]) -> CheckRecord:
    expected = {
        view.name: (view.description, [(name, c.kind, c.description) for name, c in view.columns.items()])
        for view in views_of(tables)
    }
    unqueryable = {name for name, shape in views.items() if shape is None}
    known = expected.keys() & views.keys() - unqueryable
    metadata = {
        "missing": sorted(expected.keys() - views.keys()),
        "unexpected": sorted(views.keys() - expected.keys()),
        "unqueryable": sorted(unqueryable),
        "differs": sorted(name for name in known if views[name] != expected[name]),
    }
    return check(SNAPSHOT, "database_views", passed=not any(metadata.values()), metadata=metadata)


def _views(connection: duckdb.DuckDBPyConnection) -> dict[str, _ViewShape | None]:
    """The views of the DuckDB file by name; None where one can't be queried."""
    comments = connection.execute(
        "SELECT view_name, comment FROM duckdb_views() WHERE database_name = ? AND NOT internal", [ATTACHED]
    ).fetchall()
    return {name: _view_shape(connection, name, comment) for name, comment in comments}


def _view_shape(connection: duckdb.DuckDBPyConnection, name: str, comment: str | None) -> _ViewShape | None:
    relation = table_relation(ATTACHED, name)
    try:  # for no rows: it is bound to the tables as they are, and nothing is computed
        found = connection.execute(f"FROM {relation} LIMIT 0").description or []
    except duckdb.Error:
        return None
    texts = dict(
        connection.execute(
            "SELECT column_name, comment FROM duckdb_columns() WHERE database_name = ? AND table_name = ?",
            [ATTACHED, name],
        ).fetchall()
    )
    return comment, [(column[0], str(column[1]), texts.get(column[0])) for column in found]
