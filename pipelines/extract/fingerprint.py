"""Which segments changed since a snapshot was published (DESIGN 3.5): a fingerprint per segment, and what it rests on.

A row version is told by its `xmin`, new for each that is inserted or updated, whether or not a timestamp tells of it.
Each version is hashed: a plain sum was the same for transactions that committed out of order (FACTS, last section). The
id is hashed with xmin as the seed, never as one number of both halves: hashint8 folds a number to 32 bits by XOR, and
neighbouring ids that are updated together then have the same sum under any xmin. What xmin can't tell is compared
beside it: another cluster or timeline, a rewritten table (filenode), other columns or types.
Not told apart: the same id written again by a transaction whose 32-bit number comes round after 2^32 others.
"""

import psycopg
from psycopg import sql

from pipelines.contracts.records import Manifest, Prints, SegmentPrint, SourceRecord
from pipelines.contracts.segments import segment_name
from pipelines.extract.catalog import Relation
from pipelines.extract.connection import failed_query

# Rows of these have no xmin of their own, or none that means anything.
_WITHOUT_VERSIONS = frozenset({"view", "materialized view", "foreign table"})

# Rounds towards minus infinity, as Python's // does; PostgreSQL's / rounds towards zero.
_SEGMENT = "{column}::int8 / {size} - CASE WHEN {column} < 0 AND {column} % {size} <> 0 THEN 1 ELSE 0 END"
_PRINTS = """
SELECT {segment}, count(*), sum(hashint8extended(id::int8, xmin::text::int8)::numeric)::text
FROM {table} GROUP BY 1
"""


def take_prints(
    connection: psycopg.Connection[tuple[object, ...]], relations: tuple[Relation, ...], segment_size: int
) -> Prints:
    """Fingerprint every segment of both tables, in the snapshot of a connection. One scan per table.

    Returns:
        The fingerprints; empty where a source has none (a view, a materialized view, a foreign table).

    Raises:
        ExtractError: The query failed.
    """
    # Not lockable: SELECT on single columns only, which `xmin` is none of.
    if any(relation.kind in _WITHOUT_VERSIONS or not relation.can_lock for relation in relations):
        return {}
    return {relation.table.name: _take_prints_of(connection, relation, segment_size) for relation in relations}


def _take_prints_of(
    connection: psycopg.Connection[tuple[object, ...]], relation: Relation, segment_size: int
) -> dict[str, SegmentPrint]:
    segment = sql.SQL(_SEGMENT).format(
        column=sql.Identifier(relation.table.segment_column), size=sql.Literal(segment_size)
    )
    if not relation.leaves:
        return {}
    columns = sql.SQL(", ").join(map(sql.Identifier, dict.fromkeys(("id", relation.table.segment_column))))
    # Leaf by leaf: a partition attached after the snapshot is no part of it.
    rows_of_all = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {}, xmin FROM {}").format(columns, leaf.source) for leaf in relation.leaves
    )
    query = sql.SQL(_PRINTS).format(segment=segment, table=sql.SQL("({}) AS t").format(rows_of_all))
    try:
        rows = connection.execute(query).fetchall()
    except psycopg.Error as error:
        raise failed_query(error, f"fingerprinting {relation.table.name}") from None
    prints = {}
    for number, count, digest in rows:
        name = segment_name(None if number is None else int(str(number)), segment_size)
        prints[name] = SegmentPrint(rows=int(str(count)), digest=str(digest))
    return prints


def is_comparable(published: Manifest, source: SourceRecord, prints: Prints) -> bool:
    """Whether fingerprints of the source and of a published snapshot can be compared: they rest on the same things."""
    then = published.source
    same_place = (then.identity, then.database_oid, then.timeline) == (
        source.identity,
        source.database_oid,
        source.timeline,
    )
    same_tables = all(
        name in then.relations
        and (then.relations[name].oid, then.relations[name].filenodes, then.relations[name].columns)
        == (relation.oid, relation.filenodes, relation.columns)
        for name, relation in source.relations.items()
    )
    return bool(prints) and bool(published.prints) and same_place and same_tables


def changed_segments(before: Prints, now: Prints) -> frozenset[str]:
    """Names of the segments whose rows differ in either table, among them those that came or went."""
    changed: set[str] = set()
    for table in before.keys() | now.keys():
        old, new = before.get(table, {}), now.get(table, {})
        changed |= {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    return frozenset(changed)
