"""What the catalogue of the source says of both tables, checked against the contract before any read (DESIGN 4.7).

Belongs here: questions to pg_catalog and their answers. Does not: reading rows.
"""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from pipelines.contracts.records import RelationRecord
from pipelines.contracts.source import SOURCE_TABLES, SourceTable, source_columns
from pipelines.errors import SourceError
from pipelines.extract.casts import ReadColumn, accepted_types, cast_expression

OLDEST_SERVER = 140_000
_KINDS = {"r": "table", "p": "partitioned table", "v": "view", "m": "materialized view", "f": "foreign table"}
_HAS_PAGES = frozenset("rm")

_RELATION = """
SELECT c.oid::int8, c.relkind::text, row_security_active(c.oid)
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
# The pages that a scan goes over: of the table itself, or of the leaves below a partitioned one.
_LEAVES = """
SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind::text,
       CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) / current_setting('block_size')::int8 ELSE 0 END,
       CASE WHEN c.relkind IN ('r', 'm') THEN pg_table_size(c.oid) ELSE 0 END,
       coalesce(pg_relation_filenode(c.oid), 0)::int8
FROM (SELECT relid FROM pg_catalog.pg_partition_tree(%(oid)s::regclass) WHERE isleaf
      UNION SELECT %(oid)s::regclass WHERE %(kind)s <> 'p') AS l
JOIN pg_catalog.pg_class c ON c.oid = l.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
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
    """A relation with rows of its own.

    Attributes:
        name: Schema and name, quoted.
        pages: Pages of its main fork; 0 for what has no pages, such as a view.
        bytes: Size with what is stored out of line (TOAST).
        filenode: Its file, changed by whatever rewrites the table; 0 where none.
        has_pages: Whether it can be read by ranges of pages.
    """

    name: sql.Identifier
    pages: int
    bytes: int
    filenode: int
    has_pages: bool


@dataclass(frozen=True)
class Relation:
    """A source table as it stands.

    Attributes:
        table: What the contract knows of it.
        name: Schema and name, quoted.
        oid: Its oid.
        kind: What it is in PostgreSQL, such as `table` or `view`.
        leaves: Relations that hold its rows.
        read_columns: Columns that are read, in contract order.
        types: PostgreSQL type of each column of the table, in its order.
        absent: Known columns that it lacks.
        unknown: Its columns that are not known.
        has_unique_id: Whether an index makes `id` unique.
    """

    table: SourceTable
    name: sql.Identifier
    oid: int
    kind: str
    leaves: tuple[Leaf, ...]
    read_columns: tuple[ReadColumn, ...]
    types: tuple[tuple[str, str], ...]
    absent: tuple[str, ...]
    unknown: tuple[str, ...]
    has_unique_id: bool

    def record(self, rows: int) -> RelationRecord:
        """The relation as staging and manifest keep it."""
        return RelationRecord(
            oid=self.oid,
            filenodes=tuple(leaf.filenode for leaf in self.leaves if leaf.filenode),
            columns=self.types,
            absent=self.absent,
            unknown=self.unknown,
            rows=rows,
        )


def check_server(connection: psycopg.Connection[tuple[object, ...]]) -> None:
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


def find_relations(
    connection: psycopg.Connection[tuple[object, ...]], schema: str, *, include_full_data: bool
) -> tuple[Relation, ...]:
    """Look both source tables up and check that they can be read.

    Raises:
        SourceError: A table or required column is missing, a type can't be cast, a privilege is missing, or row-level
            security would hide rows. All such columns of a table are named at once.
    """
    return tuple(
        _find_relation(connection, schema, table, include_full_data=include_full_data) for table in SOURCE_TABLES
    )


def _find_relation(
    connection: psycopg.Connection[tuple[object, ...]], schema: str, table: SourceTable, *, include_full_data: bool
) -> Relation:
    where = f"Source table {schema}.{table.name}"
    found = connection.execute(_RELATION, (schema, table.name)).fetchone()
    if found is None:
        raise SourceError(
            f"{where} is missing",
            expected="a table, view or partitioned table of that name",
            found="none that this role can see",
            fix="check SOURCE_SCHEMA and the database in DATABASE_URL",
        )
    oid, kind, hides_rows = int(str(found[0])), str(found[1]), bool(found[2])
    if hides_rows:
        raise SourceError(
            f"{where} has row-level security that applies to this role",
            expected="a role that sees every row",
            fix="ALTER ROLE … BYPASSRLS, or a policy that lets the role read all rows and no other",
        )
    columns = {str(r[0]): (str(r[1]), str(r[2]), bool(r[3])) for r in connection.execute(_COLUMNS, (oid,))}
    known = source_columns(table, include_full_data=include_full_data)
    read, problems = [], []
    for name, column in known.items():
        if name not in columns:
            if not column.nullable:
                problems.append(f"required column {name} is missing")
            continue
        shown, type_name, is_readable = columns[name]
        cast = cast_expression(name, column.dtype, type_name)
        if cast is None:
            expected = ", ".join(accepted_types(column.dtype))
            problems.append(f"column {name} has type {shown}, expected one of {expected}")
        elif not is_readable:
            problems.append(f"no SELECT privilege on column {name}")
        else:
            read.append(cast)
    if problems:
        raise SourceError(
            f"{where} can't be read",
            expected="the columns and types of DESIGN 4.7, and SELECT on them",
            found="; ".join(problems),
            fix=f"GRANT SELECT ON {schema}.{table.name} to the role, or change the table to what is expected",
        )
    leaves = tuple(
        Leaf(
            sql.Identifier(str(r[1]), str(r[2])),
            int(str(r[4])),
            int(str(r[5])),
            int(str(r[6])),
            str(r[3]) in _HAS_PAGES,
        )
        for r in connection.execute(_LEAVES, {"oid": oid, "kind": kind})
    )
    unique = connection.execute(_UNIQUE_ID, (oid,)).fetchone()
    every_known = table.schema.column_names()
    return Relation(
        table=table,
        name=sql.Identifier(schema, table.name),
        oid=oid,
        kind=_KINDS[kind],
        leaves=leaves,
        read_columns=tuple(read),
        types=tuple((name, shown) for name, (shown, _, _) in columns.items()),
        absent=tuple(name for name in known if name not in columns),
        unknown=tuple(name for name in columns if name not in every_known),
        has_unique_id=unique is not None and bool(unique[0]),
    )
