"""A cheap question whether the source may have changed: no table is scanned. A hint for a sensor, never for a run.

PostgreSQL's counters of inserted, updated and deleted rows lag by seconds, start again after a crash, and do not follow
on a standby (FACTS 1.8): a change can be told late or told where there is none, and the run itself looks
properly (fingerprint.py).
"""

import hashlib

import psycopg

from pipelines.source.connection import SourceAddress, connect, failed_query

# What holds rows of its own, as a run reads it (catalog.py): the table, its partitions, its inheritance children.
_COUNTERS = """
WITH RECURSIVE tree AS (
    SELECT c.relname::text AS name, c.oid FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname IN ('domains', 'gleif_candidates') AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    UNION
    SELECT t.name, i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid)
SELECT t.name, t.oid::int8, coalesce(pg_relation_filenode(t.oid), 0)::int8, s.n_tup_ins, s.n_tup_upd, s.n_tup_del
FROM tree t
JOIN pg_catalog.pg_class c ON c.oid = t.oid
LEFT JOIN pg_catalog.pg_stat_all_tables s ON s.relid = t.oid
WHERE c.relkind <> 'p'
ORDER BY 1, 2
"""
# A view has no counters: those of its whole database stand in.
_DATABASE_COUNTERS = """
SELECT tup_inserted, tup_updated, tup_deleted FROM pg_catalog.pg_stat_database WHERE datname = current_database()
"""


def probe_source(address: SourceAddress, schema: str) -> str:
    """A text that changes when the source may have changed.

    Args:
        schema: Schema of both tables.

    Returns:
        32 hex digits.

    Raises:
        SourceError: The server can't be reached.
        ExtractError: The question failed.
    """
    connection = connect(address, "lei-exports-probe")
    try:
        rows: list[tuple[object, ...]] = connection.execute(_COUNTERS, (schema,)).fetchall()
        if any(value is None for row in rows for value in row[3:]):
            rows += connection.execute(_DATABASE_COUNTERS).fetchall()
    except psycopg.Error as error:
        raise failed_query(error, "asking whether the source changed") from None
    finally:
        connection.close()
    return hashlib.md5(repr(rows).encode(), usedforsecurity=False).hexdigest()
