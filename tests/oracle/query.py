"""Composes the oracle's SQL: one SELECT per published table, no DDL, so it runs in a read-only transaction as well."""

from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.oracle import expected

_DIRECTORY = Path(__file__).parent
_FULL_DATA_MARK = "/*full_data c.gleif_full_data, */"

# ISO 8601 with astronomical years: four digits, beyond 0000 to 9999 with a sign (1 BC is 0000, 44 BC is -0043).
_ISO_TIME = """
CASE
    WHEN extract(year FROM {0}) > 9999 THEN '+' || extract(year FROM {0})::int
    WHEN extract(year FROM {0}) > 0 THEN lpad(extract(year FROM {0})::int::text, 4, '0')
    WHEN extract(year FROM {0}) = -1 THEN '0000'
    ELSE '-' || lpad((-1 - extract(year FROM {0}))::int::text, 4, '0')
END || to_char({0}, '-MM-DD"T"HH24:MI:SS.US"Z"') AS {1}"""


def oracle_sql(
    conn: psycopg.Connection[Any], table: str, schema: str = "public", *, include_full_data: bool = False
) -> str:
    """SQL that computes a published table from the source tables in `schema`, sorted as it is published."""
    body = (_DIRECTORY / f"{table}.sql").read_text("utf-8")
    if include_full_data:
        body = body.replace(_FULL_DATA_MARK, "c.gleif_full_data,")
    for source_table, alias in (("domains", "d"), ("gleif_candidates", "c")):
        columns = _json_columns(source_table, alias, include_full_data=include_full_data)
        body = body.replace(f"/*json_columns {source_table} {alias}*/", columns)
    sources = [
        f"domain_source AS ({_source_select(conn, schema, 'domains')})",
        f"candidate_source AS ({_source_select(conn, schema, 'gleif_candidates')})",
    ]
    prelude = (_DIRECTORY / "prelude.sql").read_text("utf-8")
    return "WITH " + ",\n".join([*sources, prelude]) + body


def _source_select(conn: psycopg.Connection[Any], schema: str, table: str) -> str:
    relation = sql.Identifier(schema, table)
    query = sql.SQL(
        "SELECT attname, atttypid::regtype::text FROM pg_catalog.pg_attribute "
        "WHERE attrelid = {}::regclass AND attnum > 0 AND NOT attisdropped"
    ).format(sql.Literal(relation.as_string(conn)))
    with conn.cursor() as cursor:
        found = dict(cursor.execute(query).fetchall())
    columns = ", ".join(_typed(name, kind, found.get(name)) for name, kind in expected.SOURCE[table].items())
    return f"SELECT {columns} FROM {relation.as_string(conn)} AS t"


def _typed(name: str, kind: str, found: str | None) -> str:
    if found is None:
        value = f"NULL::{kind}"
    elif kind == expected.TIMESTAMP:
        column = f"t.{name} AT TIME ZONE 'UTC'" if found == "timestamp with time zone" else f"t.{name}::timestamp"
        value = f"CASE WHEN isfinite(t.{name}) THEN {column} END"
    elif kind == expected.REAL:
        value = f"CASE WHEN t.{name}::real NOT IN ('NaN', 'Infinity', '-Infinity') THEN t.{name}::real END"
    else:
        value = f"t.{name}::{expected.ID_TYPE if name in expected.IDS else kind}"
    collation = ' COLLATE "C"' if kind == expected.TEXT else ""
    return f"({value}){collation} AS {name}"


def _json_columns(table: str, alias: str, *, include_full_data: bool) -> str:
    return ", ".join(
        _ISO_TIME.format(f"{alias}.{name}", name) if kind == expected.TIMESTAMP else f"{alias}.{name}"
        for name, kind in expected.SOURCE[table].items()
        if include_full_data or name != expected.FULL_DATA
    )
