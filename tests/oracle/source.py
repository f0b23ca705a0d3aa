"""The application's two tables in a test database: create, fill from rows, fill from CSV files.

Independent of pipelines.sample, which has a loader of its own.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.oracle.expected import SOURCE
from tests.oracle.postgres import Database

Columns = Mapping[str, Mapping[str, str | None]]
Row = dict[str, Any]

# Columns of tables whose ids are int8.
WIDE_IDS: Columns = {"domains": {"id": "bigint"}, "gleif_candidates": {"id": "bigint", "domain_id": "bigint"}}
_COPY_CHUNK = 1 << 16


def create_source_tables(
    conn: psycopg.Connection[Any], schema: str = "public", columns: Columns | None = None, *, id_type: str = "integer"
) -> None:
    """Create `domains` and `gleif_candidates` with every known column of DESIGN 4.7, without constraints.

    Args:
        conn: Connection to the database; committed.
        schema: PostgreSQL schema, created when it is not there.
        columns: Per table, column to SQL type: another type for a known column, None to leave it out, or an extra
            column (at the end). Types are pasted into the SQL as they are, so `"integer PRIMARY KEY"` works too.
        id_type: Type of both `id` columns.
    """
    conn.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    for table, known in SOURCE.items():
        wanted: dict[str, str | None] = {**known, "id": id_type, **(columns or {}).get(table, {})}
        definitions = [
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))  # type: ignore[arg-type]
            for name, kind in wanted.items()
            if kind is not None
        ]
        conn.execute(
            sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(schema, table), sql.SQL(", ").join(definitions))
        )
    conn.commit()


def insert_rows(conn: psycopg.Connection[Any], table: str, rows: Sequence[Row], schema: str = "public") -> None:
    """Insert rows in their order, by COPY: a value is text as PostgreSQL reads it, a number, a bool or None.

    A column that a row does not name is NULL. Committed.
    """
    if not rows:
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(schema, table), sql.SQL(", ").join(map(sql.Identifier, names))
    )
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row([row.get(name) for name in names])
    conn.commit()


def insert_source(
    conn: psycopg.Connection[Any], domains: Iterable[Row], candidates: Iterable[Row], schema: str = "public"
) -> None:
    """Insert rows of both tables."""
    insert_rows(conn, "domains", list(domains), schema)
    insert_rows(conn, "gleif_candidates", list(candidates), schema)


def fill_source(
    database: Database, domains: Iterable[Row] = (), candidates: Iterable[Row] = (), **options: Any
) -> None:
    """Make both tables in an empty database, with options of `create_source_tables`, and insert rows."""
    with database.connect() as conn:
        create_source_tables(conn, **options)
        insert_source(conn, domains, candidates)


def load_csv_dir(conn: psycopg.Connection[Any], directory: Path) -> dict[str, int]:
    """Load domains.csv and gleif_candidates.csv by COPY; an unquoted empty field is NULL. Committed.

    Returns:
        Rows per table.
    """
    counts = {}
    for table in SOURCE:
        path = Path(directory) / f"{table}.csv"
        with path.open(encoding="utf-8", newline="") as file:
            names = next(csv.reader(file))
        statement = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT csv, HEADER true)").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, names))
        )
        with path.open("rb") as data, conn.cursor() as cursor:
            with cursor.copy(statement) as copy:
                while chunk := data.read(_COPY_CHUNK):
                    copy.write(chunk)
            counts[table] = cursor.rowcount
    conn.commit()
    return counts
