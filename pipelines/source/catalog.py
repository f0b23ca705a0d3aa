"""What the catalogue of the source says of both tables, checked against the contract before any read (DESIGN 4.7)."""

from dataclasses import dataclass
from typing import Any

import dataframely as dy
from psycopg import sql

from pipelines.contracts.source import SOURCE_TABLES, SourceTable, source_columns
from pipelines.errors import SourceError
from pipelines.source.chunk import ReadColumn, accepted_types, cast_expression
from pipelines.source.connection import Connection, one_row

OLDEST_SERVER = 140_000
_KINDS = {"r": "table", "p": "partitioned table", "v": "view", "m": "materialized view", "f": "foreign table"}
_LOCKABLE = frozenset("rpv")
_HAS_PAGES = frozenset("rm")

_RELATION = """
SELECT c.oid::int8, c.relkind::text, row_security_active(c.oid), c.relispopulated,
       has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""
# A domain type counts as the type it is based on; pg_basetype exists from version 17 only.
_COLUMNS = """
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod),
       (WITH RECURSIVE base AS (
            SELECT t.typname, t.typtype, t.typbasetype FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid
            UNION ALL
            SELECT t.typname, t.typtype, t.typbasetype FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.typbasetype
            WHERE b.typtype = 'd')
        SELECT CASE typtype WHEN 'e' THEN 'enum' ELSE typname::text END FROM base WHERE typtype <> 'd'),
       has_column_privilege(a.attrelid, a.attnum, 'SELECT')
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
# What holds rows of its own: the table itself, its partitions, its inheritance children. By the catalogue's tables, not
# by pg_partition_tree: a partition attached after the snapshot is no part of that instant.
_LEAVES = """
WITH RECURSIVE tree AS (
    SELECT %s::oid AS oid
    UNION
    SELECT i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid WHERE NOT i.inhdetachpending)
SELECT n.nspname::text, c.relname::text, c.relkind::text,
       CASE WHEN c.relkind IN ('r', 'm')
            THEN coalesce(pg_relation_size(c.oid) / current_setting('block_size')::int8, 0) ELSE 0 END,
       CASE WHEN c.relkind IN ('r', 'm') THEN coalesce(pg_table_size(c.oid), 0) ELSE 0 END,
       coalesce(pg_relation_filenode(c.oid), 0)::int8, c.relfilenode::int8,
       has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AND NOT row_security_active(c.oid)
FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind <> 'p' AND c.relpersistence <> 't' -- a temporary child of another session is no part of it
ORDER BY c.oid
"""
_UNIQUE_ID = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indnkeyatts = 1 AND i.indpred IS NULL
      AND i.indexprs IS NULL AND a.attname = 'id')
"""


@dataclass(frozen=True)
class Leaf:
    """What one scan goes over: a relation with rows of its own, or a parent together with all below it.

    Attributes:
        source: As it stands after FROM.
        pages: Pages of its main fork, the most of any below a parent; 0 for what has no pages, such as a view.
        bytes: Size with what is stored out of line (TOAST).
        has_pages: Whether it can be read by ranges of pages; else it is one query, and in memory as a whole.
    """

    source: sql.Composable
    pages: int
    bytes: int
    has_pages: bool


@dataclass(frozen=True)
class Relation:
    """A source table as it stands.

    Attributes:
        kind: What it is in PostgreSQL, such as `table` or `view`.
        can_lock: Whether LOCK TABLE may be used: not on a materialized view, not with SELECT on single columns only.
        leaves: What is scanned; together they hold its rows.
        was_rewritten: Whether one has another file now than in the snapshot that the catalogue was read with.
        known_columns: Columns that would be read if the table had them all, in contract order.
        read_columns: Columns that are read, in contract order.
        types: PostgreSQL type of each column of the table, in its order.
        absent: Known columns that it lacks.
        unknown: Its columns that are not known.
        has_unique_id: Whether an index makes `id` unique.
    """

    table: SourceTable
    name: sql.Identifier
    kind: str
    can_lock: bool
    leaves: tuple[Leaf, ...]
    was_rewritten: bool
    known_columns: tuple[str, ...]
    read_columns: tuple[ReadColumn, ...]
    types: tuple[tuple[str, str], ...]
    absent: tuple[str, ...]
    unknown: tuple[str, ...]
    has_unique_id: bool


def check_server(connection: Connection) -> None:
    """Stop at a server that is too old.

    Raises:
        SourceError: Older than 14: it can't read ranges of pages (Tid Range Scan).
    """
    version = connection.info.server_version
    if version < OLDEST_SERVER:
        raise SourceError(
            "The source PostgreSQL is too old",
            expected=f"version {OLDEST_SERVER // 10_000} or newer",
            found=f"version {version // 10_000}.{version % 10_000}",
            fix="export from a newer server or from a replica that was upgraded",
        )


def find_relations(connection: Connection, schema: str, *, include_full_data: bool) -> tuple[Relation, ...]:
    """Look both source tables up and check that they can be read.

    Raises:
        SourceError: A table or required column is missing, a type can't be cast, a privilege is missing, or row-level
            security would hide rows. All such columns of a table are named at once.
    """
    return tuple(
        _find_relation(connection, schema, table, include_full_data=include_full_data) for table in SOURCE_TABLES
    )


def _find_relation(connection: Connection, schema: str, table: SourceTable, *, include_full_data: bool) -> Relation:
    where = f"Source table {schema}.{table.name}"
    found = connection.execute(_RELATION, (schema, table.name)).fetchone()
    if found is None:
        raise SourceError(
            f"{where} is missing",
            expected="a table, view or partitioned table of that name",
            found="none in this database",
            fix="check SOURCE_SCHEMA and the database in DATABASE_URL",
        )
    oid, kind, hides_rows, is_populated, may_use_schema, may_select = found
    if not may_use_schema:
        raise SourceError(
            f"{where} can't be reached",
            expected=f"the privilege USAGE on schema {schema}",
            found="none",
            fix=f"GRANT USAGE ON SCHEMA {sql.Identifier(schema).as_string()} to the role",
        )
    if hides_rows:
        raise SourceError(
            f"{where} has row-level security that applies to this role",
            expected="a role that sees every row",
            found="policies that may hide some",
            fix="ALTER ROLE … BYPASSRLS, or a policy that lets the role read all rows and no other",
        )
    if not is_populated:
        raise SourceError(
            f"{where} is a materialized view without data", expected="rows or none", fix="REFRESH MATERIALIZED VIEW"
        )
    columns = {name: (shown, base, readable) for name, shown, base, readable in connection.execute(_COLUMNS, (oid,))}
    known = source_columns(table, include_full_data=include_full_data)
    read = _fit_columns(where, schema, table, columns, known)
    rows = connection.execute(_LEAVES, (oid,)).fetchall()
    if foreign := [f"{r[0]}.{r[1]}" for r in rows if r[2] == "f"]:
        raise SourceError(
            f"{where} has its rows on another server",
            expected="rows of this server: a snapshot of one can't hold those of another",
            found=f"foreign table {', '.join(foreign)}",
            fix="export from the server that holds the rows",
        )
    name = sql.Identifier(schema, table.name)
    (has_unique_id,) = one_row(connection, _UNIQUE_ID, (oid,))
    every_known = table.schema.column_names()
    return Relation(
        table=table,
        name=name,
        kind=_KINDS[kind],
        can_lock=kind in _LOCKABLE and may_select,
        leaves=_leaves(name, rows, has_ctid=may_select),
        was_rewritten=any(r[5] != r[6] for r in rows if r[2] in _HAS_PAGES),
        known_columns=tuple(known),
        read_columns=read,
        types=tuple((name, shown) for name, (shown, _, _) in columns.items()),
        absent=tuple(name for name in known if name not in columns),
        unknown=tuple(name for name in columns if name not in every_known),
        # An index of an inheritance parent says nothing of its children.
        has_unique_id=has_unique_id and (kind == "p" or len(rows) == 1),
    )


def _fit_columns(
    where: str,
    schema: str,
    table: SourceTable,
    columns: dict[str, tuple[str, str, bool]],
    known: dict[str, dy.Column],
) -> tuple[ReadColumn, ...]:
    """SQL of the known columns that are there; raises one error for all that don't fit."""
    read, problems, fixes = [], [], set()
    for name, column in known.items():
        expected = " or ".join(accepted_types(column.dtype))
        if name not in columns:
            if not column.nullable:
                problems.append(f"required column {name} ({expected}) is missing")
                fixes.add("check that this is the application's table")
            continue
        shown, type_name, is_readable = columns[name]
        cast = cast_expression(name, column.dtype, type_name)
        if cast is None:
            problems.append(f"column {name} has type {shown}, expected {expected}")
            fixes.add("change the column's type, or export from a view that casts it")
        elif not is_readable:
            problems.append(f"no SELECT privilege on column {name}")
            fixes.add(f"GRANT SELECT ON {sql.Identifier(schema).as_string()}.{table.name} to the role")
        else:
            read.append(cast)
    if problems:
        raise SourceError(
            f"{where} can't be read",
            expected="the columns and types of DESIGN 4.7, and SELECT on them",
            found="; ".join(problems),
            fix="; ".join(sorted(fixes)),
        )
    return tuple(read)


def _leaves(name: sql.Identifier, rows: list[tuple[Any, ...]], *, has_ctid: bool) -> tuple[Leaf, ...]:
    """What to scan. `ctid`, and so ranges of pages, wants SELECT on the whole table, not on single columns."""
    if all(row[7] for row in rows) or len(rows) == 1:
        return tuple(
            Leaf(
                source=sql.SQL("ONLY {}").format(sql.Identifier(row[0], row[1])),
                pages=row[3],
                bytes=row[4],
                has_pages=row[2] in _HAS_PAGES and row[7],
            )
            for row in rows
        )
    # The privilege on a parent is enough to read all below it, but only by the parent's name: a range of pages is then
    # that of each one below.
    return (Leaf(name, max(row[3] for row in rows), sum(row[4] for row in rows), has_ctid),)
