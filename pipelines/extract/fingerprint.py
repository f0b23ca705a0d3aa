"""Fingerprints of the source's segments (DESIGN 3.8): what is in them, whoever wrote it, and when.

A segment's fingerprint is the sum over its rows of a hash of the very expressions that the readers select, in the run's
own snapshot. So it holds over a restore, a restart, a failover, a dump into another cluster and VACUUM FULL, for views
and on standbys, and it changes with every change of the catalogue that changes what is read, such as another label of
an enum. A known column that the table lacks is NULL, as it is published.

The hash of a row is hashed once more. `hash_record_extended` adds up the hashes of the columns, each times a power of
31: two rows that exchange the values of one column, such as their ranks, keep the sum of both rows modulo 2^64. 114 of
200 such exchanges were not seen by a sum over it alone. `hashint8extended` mixes all 64 bits of its seed.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg import sql

from pipelines.contracts.records import Fingerprint, Fingerprints
from pipelines.contracts.segments import Bounds, IdRange, Segmentation, join_ranges, segment_name
from pipelines.contracts.source import SOURCE_TABLES
from pipelines.extract.catalog import Relation
from pipelines.extract.connection import failed_query
from pipelines.extract.id_ranges import in_ranges, int8_array

Connection = psycopg.Connection[tuple[Any, ...]]
Answer = TypeVar("Answer")


class AskBoth(Protocol):
    """Asks the same of both source tables at the same time."""

    def __call__(self, ask: Callable[[Connection, Relation], Answer]) -> dict[str, Answer]:
        """Call a function for each table, with a connection of its own; what it returns, by table name."""


# So many ranges of ids are counted in the first scan, and into so many parts, at least, a range is divided in the next.
_FIRST_RANGES = 4_096
_PARTS = 16
_LARGEST_ID = 2**63 - 1

_FINGERPRINTS = "SELECT segment, count(*), sum(hash::numeric)::text FROM ({rows}) AS t GROUP BY 1"
_HASHES = """
SELECT width_bucket({column}::int8, {cuts}) AS segment,
       hashint8extended(0, hash_record_extended(row({values}), 0)) AS hash
FROM {leaf} WHERE {condition}
"""
_LIMITS = "SELECT min({column})::int8, max({column})::int8 FROM {leaf} WHERE {condition}"
# Rounds towards minus infinity, as Python's // does; PostgreSQL's / rounds towards zero.
_COUNTS = """
SELECT {column}::int8 / {width} - CASE WHEN {column}::int8 % {width} < 0 THEN 1 ELSE 0 END, count(*)
FROM {leaf} WHERE {condition} GROUP BY 1
"""


def take_fingerprints(ask_both: AskBoth, size: int, numbers: Sequence[int] | None) -> tuple[Segmentation, Fingerprints]:
    """Fingerprint every segment of both tables; cut the segments that have too many rows.

    Args:
        ask_both: Asks of both tables.
        size: SEGMENT_SIZE.
        numbers: Numbers of the published segments; None: cut all ids by the rows that there are.

    Returns:
        The segments, and their fingerprints. A segment without rows of a table has none of it.

    Raises:
        ExtractError: A query failed.
    """
    if numbers is None:
        found = _find_cuts(ask_both, Segmentation(size), (None, None))
        segments = Segmentation(size, tuple(found) or (0,))
        return segments, _ask_fingerprints(ask_both, segments, None)
    segments = Segmentation(size, tuple(numbers))
    fingerprints = _ask_fingerprints(ask_both, segments, None)
    grown = _too_large(segments, fingerprints)
    if not grown:
        return segments, fingerprints
    cut = segments.with_cuts(new for number in grown for new in _cuts_within(ask_both, segments, number))
    # Sums add up: a segment that keeps its rows when another is cut off behind it keeps its fingerprint too.
    again = _ask_fingerprints(ask_both, cut, segments.ranges(grown))
    names = {segment_name(number) for number in grown}
    kept = {t: {n: f for n, f in of_table.items() if n not in names} for t, of_table in fingerprints.items()}
    return cut, {table: kept[table] | again[table] for table in kept}


def changed_segments(before: Fingerprints, now: Fingerprints) -> frozenset[str]:
    """Names of the segments whose rows differ in either table, among them those that came or went."""
    changed: set[str] = set()
    for table in before.keys() | now.keys():
        old, new = before.get(table, {}), now.get(table, {})
        changed |= {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    return frozenset(changed)


def _too_large(segments: Segmentation, fingerprints: Fingerprints) -> list[int]:
    """Numbers of the segments that have too many rows and can be cut."""
    rows = {table: {name: f.rows for name, f in found.items()} for table, found in fingerprints.items()}
    counts = ((n, *(rows[t.name].get(segment_name(n), 0) for t in SOURCE_TABLES)) for n in segments.numbers)
    return [number for number, *found in counts if segments.is_too_large(*found) and segments.can_be_cut(number)]


def _cuts_within(ask_both: AskBoth, segments: Segmentation, number: int) -> list[int]:
    """Where to cut a segment. Its own number stays a cut, so that no published segment is gone."""
    low, high = segments.bounds[number]
    first = number * segments.size
    below = _find_cuts(ask_both, segments, (None, first)) if low is None else []
    return [*below, *_find_cuts(ask_both, segments, (first, high))[1:]]


def _find_cuts(ask_both: AskBoth, segments: Segmentation, bounds: Bounds) -> list[int]:
    """Numbers of the segments that a range of ids is cut into, by counting rows.

    The ids are counted in ranges that become narrower only where there are too many rows, so that the memory and the
    number of scans stay small whatever the ids are: ids that are 100,000 apart, or random numbers of 8 bytes.
    """
    limits = ask_both(lambda connection, relation: _ask_each_leaf(connection, relation, _LIMITS, [bounds]))
    ids = [int(limit) for rows in limits.values() for row in rows for limit in row if limit is not None]
    if not ids:
        return []
    width = segments.size
    while max(ids) // width - min(ids) // width >= _FIRST_RANGES:
        width *= 2
    small: list[IdRange] = []
    wide = [bounds]
    while wide:
        counted = _count(ask_both, width, wide)
        small += [
            IdRange(part.number * width // segments.size, part.domains, part.candidates)
            for part in counted
            if width == segments.size or not segments.is_too_large(part.domains, part.candidates)
        ]
        large = [part.number for part in counted if segments.is_too_large(part.domains, part.candidates)]
        ids_of = ((number * width, (number + 1) * width) for number in sorted(large) if width > segments.size)
        wide = [_overlap(bounds, low, high) for low, high in ids_of]
        parts = max(_PARTS, _FIRST_RANGES // max(1, len(large)))
        while parts > 1 and width > segments.size:
            width, parts = width // 2, parts // 2
    return join_ranges(sorted(small), segments)


def _overlap(bounds: Bounds, low: int, high: int) -> Bounds:
    """The ids of a range that lie within other bounds; no upper end where PostgreSQL has no larger id."""
    if bounds[0] is not None:
        low = max(low, bounds[0])
    if bounds[1] is not None:
        high = min(high, bounds[1])
    return low, high if high <= _LARGEST_ID else None


def _count(ask_both: AskBoth, width: int, ranges: Sequence[Bounds]) -> list[IdRange]:
    """Rows of both tables by ranges of ids; each range's number is its first id divided by `width`."""
    found = ask_both(lambda connection, relation: _ask_each_leaf(connection, relation, _COUNTS, ranges, width))
    counts: dict[str, Counter[int]] = {}
    for table, rows in found.items():
        counts[table] = Counter()
        for number, count in rows:
            counts[table][int(number)] += int(count)
    domains, candidates = (counts[table.name] for table in SOURCE_TABLES)
    return [IdRange(number, domains[number], candidates[number]) for number in domains.keys() | candidates.keys()]


def _ask_each_leaf(
    connection: Connection, relation: Relation, query: str, ranges: Sequence[Bounds], width: int = 1
) -> list[tuple[Any, ...]]:
    column = sql.Identifier(relation.table.segment_column)
    rows: list[tuple[Any, ...]] = []
    for leaf in relation.leaves:
        condition = in_ranges(column, ranges)
        asked = sql.SQL(query).format(column=column, leaf=leaf.source, condition=condition, width=sql.Literal(width))
        rows += _ask(connection, asked, f"counting {relation.table.name}")
    return rows


def _ask_fingerprints(ask_both: AskBoth, segments: Segmentation, ranges: Sequence[Bounds] | None) -> Fingerprints:
    """Fingerprints of the segments in some ranges of ids; None is all, with the rows that have no domain id."""

    def ask(connection: Connection, relation: Relation) -> dict[str, Fingerprint]:
        if not relation.leaves:
            return {}
        column = sql.Identifier(relation.table.segment_column)
        hashed = {read.name: read.hashed for read in relation.read_columns}
        # Every known column has its place, so that no column's value stands for another's.
        places = [hashed.get(name, sql.SQL("NULL::int4")) for name in relation.known_columns]
        values, cuts = sql.SQL(", ").join(places), int8_array(segments.cuts)
        condition = sql.SQL("true") if ranges is None else in_ranges(column, ranges)
        # Leaf by leaf: a partition attached after the snapshot is no part of it.
        hashes = sql.SQL(" UNION ALL ").join(
            sql.SQL(_HASHES).format(column=column, cuts=cuts, values=values, leaf=leaf.source, condition=condition)
            for leaf in relation.leaves
        )
        query = sql.SQL(_FINGERPRINTS).format(rows=hashes)
        return {
            segment_name(None if place is None else segments.numbers[int(place)]): Fingerprint(
                rows=int(rows), digest=str(digest)
            )
            for place, rows, digest in _ask(connection, query, f"fingerprinting {relation.table.name}")
        }

    return ask_both(ask)


def _ask(connection: Connection, query: sql.Composed, doing: str) -> list[tuple[Any, ...]]:
    try:
        return connection.execute(query).fetchall()
    except psycopg.Error as error:
        raise failed_query(error, doing) from None
