"""Fingerprints of the source's segments (DESIGN 3.8): what is in them, not who wrote it, or when.

A segment's fingerprint is the sum over its rows of a hash of the very expressions that the readers select, in the run's
own snapshot. So it holds over a restore, a restart, a failover, a dump into another cluster and VACUUM FULL, for views
and on standbys, and it changes with every change of the catalogue that changes what is read, such as another label of
an enum. A known column that the table lacks is NULL, as it is published.

Rows that are read bring their hashes, and what is published has the sum of these. A label of an enum and a function of
a view are not part of a snapshot: they may be others when rows are read than when segments were compared.

The hash of a row is hashed once more. `hash_record_extended` adds up the hashes of the columns, each times a power of
31: two rows that exchange the values of one column, such as their ranks, keep the sum of both rows modulo 2^64. 114 of
200 such exchanges were not seen by a sum over it alone. `hashint8extended` mixes all 64 bits of its seed.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg import sql

from pipelines.contracts.records import Fingerprint, Fingerprints
from pipelines.contracts.segments import (
    Bounds,
    IdRange,
    Segmentation,
    join_ranges,
    segment_name,
    segment_number,
)
from pipelines.contracts.source import SOURCE_TABLES
from pipelines.source.catalog import Relation
from pipelines.source.connection import Connection, failed_query
from pipelines.source.ranges import in_ranges, int8_array, row_hash

Answer = TypeVar("Answer")


class AskBoth(Protocol):
    """Asks the same of both source tables at the same time."""

    def __call__(self, ask: Callable[[Connection, Relation], Answer]) -> dict[str, Answer]:
        """Call a function for each table, with a connection of its own; what it returns, by table name."""


# The ids are divided into so many ranges at most in the first scan, and a range with too many rows into so many parts,
# at least, in the next.
_FIRST_RANGES = 4_096
_PARTS = 16
_IDS = range(-(2**63), 2**63)

_FINGERPRINTS = "SELECT segment, count(*), {digest}::text FROM ({rows}) AS t GROUP BY 1"
_HASHES = "SELECT width_bucket({column}::int8, {cuts}) AS segment, {hash} AS hash FROM {leaf} WHERE {condition}"
_DIGEST = sql.SQL("sum(hash::numeric)")
_LIMITS = "SELECT min({column})::int8, max({column})::int8 FROM {leaf} WHERE {condition}"


def take_fingerprints(ask_both: AskBoth, size: int, numbers: Sequence[int] | None) -> tuple[Segmentation, Fingerprints]:
    """Fingerprint every segment of both tables; cut the segments that have too many rows.

    Args:
        numbers: Numbers of the published segments; None: cut all ids by the rows that there are. All rows will be read
            then, and bring their hashes: every digest is 0.

    Returns:
        The segments, and their fingerprints. A segment without rows of a table has none of it.

    Raises:
        ExtractError: A query failed.
        psycopg.DataError: PostgreSQL can't compute a value that is read.
    """
    if numbers is None:
        found = _divide(ask_both, size, (None, None), with_digests=False)
        segmentation = Segmentation(size, tuple(_join(found, size)) or (0,))
        return segmentation, _add_up(found, segmentation)
    segmentation = Segmentation(size, tuple(numbers))
    fingerprints = _ask_fingerprints(ask_both, segmentation, None)
    grown = _too_large(segmentation, fingerprints)
    if not grown:
        return segmentation, fingerprints
    kept = {t: {n: f for n, f in of_table.items() if n not in grown} for t, of_table in fingerprints.items()}
    cuts: set[int] = set()
    for number in grown.values():
        found, new = _cut_segment(ask_both, segmentation, number)
        cuts |= new
        kept = {table: of_table | found[table] for table, of_table in kept.items()}
    segmentation = segmentation.with_cuts(cuts)
    return segmentation, _add_up(kept, segmentation)


def changed_segments(before: Fingerprints, now: Fingerprints) -> frozenset[str]:
    """Names of the segments whose rows differ in either table, among them those that came or went."""
    changed: set[str] = set()
    for table in before.keys() | now.keys():
        old, new = before.get(table, {}), now.get(table, {})
        changed |= {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    return frozenset(changed)


def _too_large(segmentation: Segmentation, fingerprints: Fingerprints) -> dict[str, int]:
    """Name and number of the segments that have too many rows and can be cut."""
    names = {segment_name(number): number for number in segmentation.numbers}
    return {
        name: number
        for name, number in names.items()
        if segmentation.is_too_large(*_rows_of(fingerprints, name)) and segmentation.can_be_cut(number)
    }


def _rows_of(fingerprints: Fingerprints, name: str) -> tuple[int, int]:
    """Rows of both tables in a segment."""
    nothing = Fingerprint(rows=0, digest="0")
    domains, candidates = (fingerprints[table.name].get(name, nothing) for table in SOURCE_TABLES)
    return domains.rows, candidates.rows


def _cut_segment(ask_both: AskBoth, segmentation: Segmentation, number: int) -> tuple[Fingerprints, set[int]]:
    """Fingerprints of the parts of a segment, and the numbers that it is cut at.

    Its own number stays one of them, so that no published segment is gone.
    """
    (low, high), size = segmentation.bounds[number], segmentation.size
    found = _divide(ask_both, size, (number * size, high))
    cuts = {number, *_join(found, size)[1:]}
    if low is None:
        below = _divide(ask_both, size, (None, number * size))
        cuts |= set(_join(below, size))
        found = {table: below[table] | of_table for table, of_table in found.items()}
    return found, cuts


def _divide(ask_both: AskBoth, size: int, bounds: Bounds, *, with_digests: bool = True) -> Fingerprints:
    """Fingerprints of ranges of ids, each of `size` ids or of few rows.

    The ranges become narrower only where there are too many rows, so that memory and the number of scans stay small
    whatever the ids are: ids that are 100,000 apart, or random numbers of 8 bytes.
    """
    limits = [limit for found in ask_both(partial(_ask_limits, bounds=bounds)).values() for limit in found]
    first, last = (min(limits), max(limits)) if limits else (0, 0)
    width = size
    while last // width - first // width >= _FIRST_RANGES:
        width *= 2
    # First and last id of each range, by its number.
    lowest = _IDS.start // size * size if bounds[0] is None else bounds[0]
    cells = {max(n * width, lowest): min((n + 1) * width, _IDS.stop) for n in range(first // width, last // width + 1)}
    ranges = None if bounds == (None, None) else [bounds]
    divided: Fingerprints = {table.name: {} for table in SOURCE_TABLES}
    while cells:
        segmentation = Segmentation(size, tuple(start // size for start in cells))
        found = _ask_fingerprints(ask_both, segmentation, ranges, with_digests=with_digests)
        wide = _too_large(segmentation, found) if width > size else {}
        for table, of_table in found.items():
            divided[table] |= {name: one for name, one in of_table.items() if name not in wide}
        cells = {start: end for start, end in cells.items() if segment_name(start // size) in wide}
        ranges = [_within(bounds, start, end) for start, end in cells.items()]
        parts = max(_PARTS, _FIRST_RANGES // max(1, len(cells)))
        width = max(size, width // 2 ** (parts.bit_length() - 1))
        cells = {
            begin: min(begin - begin % width + width, end)
            for start, end in cells.items()
            for begin in (start, *range(start - start % width + width, end, width))
        }
    return divided


def _within(bounds: Bounds, low: int, high: int) -> Bounds:
    """The ids of a range up to an upper limit; no lower or upper end where PostgreSQL has no id beyond it."""
    if bounds[1] is not None:
        high = min(high, bounds[1])
    return low if low in _IDS else None, high if high in _IDS else None


def _join(fingerprints: Fingerprints, size: int) -> list[int]:
    """Numbers of the segments that ranges of ids make when they are joined as far as they may be."""
    numbers = {segment_number(name) for of_table in fingerprints.values() for name in of_table}
    known = sorted(number for number in numbers if number is not None)
    ranges = [IdRange(number, *_rows_of(fingerprints, segment_name(number))) for number in known]
    return join_ranges(ranges, Segmentation(size))


def _add_up(fingerprints: Fingerprints, segmentation: Segmentation) -> Fingerprints:
    """Fingerprints of segments, from those of ranges of ids that lie in one segment each: sums add up.

    So a segment that keeps its rows when another one is cut off behind it keeps its fingerprint too.
    """
    names = {number: segment_name(number) for number in segmentation.numbers}
    added: Fingerprints = {}
    for table, of_table in fingerprints.items():
        rows: Counter[str] = Counter()
        digests: Counter[str] = Counter()
        for name, found in of_table.items():
            number = segment_number(name)
            whole = name if number is None else names[segmentation.number_at(number * segmentation.size)]
            rows[whole] += found.rows
            digests[whole] += int(found.digest)
        added[table] = {name: Fingerprint(rows=rows[name], digest=str(digests[name])) for name in rows}
    return added


def _ask_limits(connection: Connection, relation: Relation, bounds: Bounds) -> list[int]:
    """The least and the greatest domain id of a table within bounds; nothing where it has no rows there."""
    column = sql.Identifier(relation.table.segment_column)
    condition = in_ranges(column, [bounds])
    limits: list[int] = []
    for leaf in relation.leaves:
        query = sql.SQL(_LIMITS).format(column=column, leaf=leaf.source, condition=condition)
        found = _ask(connection, query, f"looking for the ids of {relation.table.name}")
        limits += [limit for row in found for limit in row if limit is not None]
    return limits


def _ask_fingerprints(
    ask_both: AskBoth, segmentation: Segmentation, ranges: Sequence[Bounds] | None, *, with_digests: bool = True
) -> Fingerprints:
    """Fingerprints of the segments in some ranges of ids; None is all, with the rows that have no domain id."""

    def ask(connection: Connection, relation: Relation) -> dict[str, Fingerprint]:
        if not relation.leaves:
            return {}
        column = sql.Identifier(relation.table.segment_column)
        row, added = (row_hash(relation), _DIGEST) if with_digests else (sql.SQL("NULL"), sql.SQL("0"))
        cuts = int8_array(segmentation.cuts)
        condition = sql.SQL("true") if ranges is None else in_ranges(column, ranges)
        # Leaf by leaf: a partition attached after the snapshot is no part of it.
        hashes = sql.SQL(" UNION ALL ").join(
            sql.SQL(_HASHES).format(column=column, cuts=cuts, hash=row, leaf=leaf.source, condition=condition)
            for leaf in relation.leaves
        )
        query = sql.SQL(_FINGERPRINTS).format(digest=added, rows=hashes)
        return {
            segment_name(None if place is None else segmentation.numbers[place]): Fingerprint(rows=rows, digest=digest)
            for place, rows, digest in _ask(connection, query, f"fingerprinting {relation.table.name}")
        }

    return ask_both(ask)


def _ask(connection: Connection, query: sql.Composed, doing: str) -> list[tuple[Any, ...]]:
    try:
        return connection.execute(query).fetchall()
    except psycopg.DataError:
        raise  # the caller can find out which column holds the value
    except psycopg.Error as error:
        raise failed_query(error, doing) from None
