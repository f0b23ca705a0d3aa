"""Loads CSV files of `domains` and `gleif_candidates` into a PostgreSQL, replacing both tables in one transaction.

The tables hold what the file holds: no primary key, nothing unique, nothing NOT NULL, since a dump with defects must be
loadable for a run to name them. Each has one plain index, on the column that leads to a domain row.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from pipelines.contracts.source import SOURCE_TABLES, SourceTable
from pipelines.errors import SampleError
from pipelines.sample.csv_files import SAMPLE_DIR, CsvFile, find_csv, open_csv

_LOCK_TIMEOUT = "30s"
_TIMESTAMP = "timestamp without time zone"
_TYPES = {
    "Int64": "bigint",
    "Int32": "integer",
    "Float32": "real",
    "String": "text",
    "Bool": "boolean",
    "Datetime": _TIMESTAMP,
}
_UNKNOWN_TYPE = "text"
_CONTEXT = re.compile(r"COPY .+?, line (\d+)(?:, column (.+?):)?")
_MEANINGS = {
    "22021": ("bytes that are not UTF-8, or a NUL byte", "convert the file to UTF-8"),
    "22P04": ("too few or too many values, or a quote that is not closed", "correct the line (RFC 4180)"),
    "22P02": ("a value of another type", "correct the value; NULL is an empty field without quotes"),
    "22003": ("a number that is too large", "correct the value"),
    "22007": ("no date and time", "write it as 2026-11-23T06:59:32Z; NULL is an empty field without quotes"),
    "22008": ("a date and time that does not exist", "correct the value"),
    "55P03": ("another session holds the table", "wait for that session, or end it, and try again"),
    "42501": ("no privilege", "connect as a role that may create tables in the schema"),
    "25006": ("a session that is read-only", "connect to a database that may be written to"),
    "2BP01": ("a view or another object that depends on the table", "drop that object first"),
    "42809": ("a view or another object of the table's name", "drop that object first"),
    "53100": ("a full disk", "make room"),
}


def load_directory(conninfo: str, directory: Path, schema: str = "public") -> dict[str, int]:
    """Replace both tables with the CSV files of a folder: UTF-8, RFC 4180, with a header, plain or gzip.

    Only the columns of a header are made: known ones with the type of the contract, others as text. A field that is
    empty without quotes is NULL, `""` is the empty string. Drops the tables that are there: for the embedded server
    and test databases, never for the application's own.

    Args:
        conninfo: Connection string or URL, with the right to create tables.
        directory: Folder with `domains.csv` and `gleif_candidates.csv`, or `.csv.gz`.
        schema: Schema of the tables; created when missing.

    Returns:
        Rows per table.

    Raises:
        SampleError: A file is missing or can't be used, or there is no connection. The tables are as they were.
    """
    with ExitStack() as files:
        opened = _open_all(files, directory)
        with _transaction(conninfo) as cursor:
            _take_turn(cursor)
            return _replace(cursor, opened, schema)


def ensure_sample(conninfo: str, schema: str = "public") -> bool:
    """Load the built-in sample when neither table is there; one transaction, safe to call from several processes.

    Returns:
        Whether the sample was loaded.

    Raises:
        SampleError: No connection, or the sample can't be loaded; nothing was changed then.
    """
    with ExitStack() as files, _transaction(conninfo) as cursor:
        _take_turn(cursor)
        if not _has_no_tables(cursor, schema):
            return False
        _replace(cursor, _open_all(files, SAMPLE_DIR), schema)
        return True


def is_empty(conninfo: str, schema: str = "public") -> bool:
    """Whether neither `domains` nor `gleif_candidates` is there, as a table or a view.

    Raises:
        SampleError: No connection.
    """
    with _transaction(conninfo) as cursor:
        return _has_no_tables(cursor, schema)


@contextmanager
def _transaction(conninfo: str) -> Iterator[psycopg.Cursor]:
    try:
        connection = psycopg.connect(conninfo, client_encoding="utf8", application_name="lei-exports sample")
    except psycopg.Error as error:
        raise SampleError(
            "No connection to the PostgreSQL to load into",
            found=error.sqlstate or type(error).__name__,
            fix="check that it runs, and its address, user and password",
        ) from None
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute("SET LOCAL TimeZone = 'UTC'")
            cursor.execute("SET LOCAL DateStyle = 'ISO, YMD'")
            yield cursor
    except psycopg.Error as error:
        raise _explained("The tables can't be loaded", error) from None


def _take_turn(cursor: psycopg.Cursor) -> None:
    # Loaders go one after the other; the next one sees what the one before has committed.
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('lei-exports sample'))")


def _has_no_tables(cursor: psycopg.Cursor, schema: str) -> bool:
    names = [sql.Identifier(schema, table.name).as_string(cursor) for table in SOURCE_TABLES]
    found = cursor.execute("SELECT to_regclass(name) FROM unnest(%s::text[]) AS name", (names,)).fetchall()
    return all(oid is None for (oid,) in found)


def _open_all(files: ExitStack, directory: Path) -> list[tuple[SourceTable, CsvFile]]:
    paths = [(table, find_csv(directory, table.name)) for table in SOURCE_TABLES]
    return [(table, files.enter_context(open_csv(path))) for table, path in paths]


def _replace(cursor: psycopg.Cursor, opened: list[tuple[SourceTable, CsvFile]], schema: str) -> dict[str, int]:
    # Asked first: CREATE SCHEMA IF NOT EXISTS wants the privilege even where there is nothing to create.
    if not cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone():
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    for table, _ in opened:
        name = sql.Identifier(schema, table.name)
        try:
            cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
        except psycopg.Error as error:
            raise _explained(f"The table {table.name} can't be replaced", error) from None
    return {table.name: _load(cursor, table, file, schema) for table, file in opened}


def _load(cursor: psycopg.Cursor, table: SourceTable, file: CsvFile, schema: str) -> int:
    name, types = sql.Identifier(schema, table.name), _column_types(table, file)
    # PostgreSQL drops the offset of a text that it reads as timestamp; through timestamptz `+02:00` is honoured.
    loaded = {column: "timestamptz" if type_ == _TIMESTAMP else type_ for column, type_ in types.items()}
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(type_)) for column, type_ in loaded.items()
    )
    copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, HEADER, ENCODING 'UTF8')").format(
        name, sql.SQL(", ").join(map(sql.Identifier, types))
    )
    try:
        cursor.execute(sql.SQL("CREATE TABLE {} ({})").format(name, columns))
        with cursor.copy(copy) as sink:
            for chunk in file.chunks():
                sink.write(chunk)
        rows = cursor.rowcount
        _finish(cursor, table, name, types)
    except psycopg.Error as error:
        raise _explained(f"{file.path} can't be loaded into the table {table.name}", error, types) from None
    return rows


def _finish(cursor: psycopg.Cursor, table: SourceTable, name: sql.Identifier, types: dict[str, str]) -> None:
    times = [sql.Identifier(column) for column, type_ in types.items() if type_ == _TIMESTAMP]
    if times:
        action = sql.SQL("ALTER COLUMN {0} TYPE timestamp USING {0} AT TIME ZONE 'UTC'")
        actions = sql.SQL(", ").join(action.format(column) for column in times)
        cursor.execute(sql.SQL("ALTER TABLE {} {}").format(name, actions))
    if table.segment_column in types:
        cursor.execute(sql.SQL("CREATE INDEX ON {} ({})").format(name, sql.Identifier(table.segment_column)))
    cursor.execute(sql.SQL("ANALYZE {}").format(name))


def _column_types(table: SourceTable, file: CsvFile) -> dict[str, str]:
    known = {name: _TYPES[type(column).__name__] for name, column in table.schema.columns().items()}
    return {name: known.get(name, _UNKNOWN_TYPE) for name in file.columns}


def _explained(what: str, error: psycopg.Error, types: dict[str, str] | None = None) -> SampleError:
    # Only names, numbers and the SQLSTATE: message, detail and context of PostgreSQL quote the row.
    code = error.sqlstate or ""
    meaning, fix = _MEANINGS.get(code, (type(error).__name__, ""))
    expected = ""
    place = _CONTEXT.match(error.diag.context or "")
    if place and types is not None:
        line, column = place.groups()
        what += f", line {line}"
        if column in types:
            what += f", column {column}"
            expected = types[column]
    return SampleError(what, expected=expected, found=f"{meaning} (SQLSTATE {code})" if code else meaning, fix=fix)
