"""What is asked of PostgreSQL: page ranges of both tables, ids in segments, as SQL (DESIGN 3.2)."""

from collections.abc import Collection, Sequence

from psycopg import sql

from pipelines.build.pieces import MAX_RANGES
from pipelines.contracts.segments import Bounds, Segmentation
from pipelines.source.catalog import Leaf, Relation

_SMALLEST_INT8 = -(2**63)
# Name of the hash of a row among the columns that are read.
ROW_HASH = "row_hash"
# About 85,000 candidates a query. 64 MiB took the same time and 200 MB more at the peak, 16 MiB 100 MB less. Of a table
# of more than MAX_RANGES times as much, ranges are larger.
RANGE_BYTES = 32 * 2**20
_BLOCK = 8192


def int8_array(numbers: Sequence[int]) -> sql.Composed:
    """An array of int8."""
    return sql.SQL("{}::int8[]").format(sql.Literal(f"{{{','.join(map(str, numbers))}}}"))


def in_ranges(column: sql.Identifier, ranges: Sequence[Bounds], *, or_null: bool = False) -> sql.Composable:
    """A condition: the column lies in one of these ranges.

    Args:
        column: A column of any integer type.
        ranges: In ascending order, without overlap.
        or_null: Whether NULL is in them too.
    """
    tests: list[sql.Composable] = []
    if ranges:
        parts: list[sql.Composable] = []
        low, high = ranges[0][0], ranges[-1][1]
        # The outer limits stand alone, so that an index can be used.
        if low is not None:
            parts.append(sql.SQL("{} >= {}").format(column, sql.Literal(low)))
        if high is not None:
            parts.append(sql.SQL("{} < {}").format(column, sql.Literal(high)))
        if len(ranges) > 1:
            # A binary search over all limits: an odd place is inside a range. 3,000 conditions with OR are read one by
            # one for each row.
            limits = [_SMALLEST_INT8 if low is None else low]
            limits += [limit for bounds in ranges for limit in bounds if limit is not None and limit != low]
            parts.append(sql.SQL("width_bucket({}::int8, {}) % 2 = 1").format(column, int8_array(limits)))
        tests.append(sql.SQL(" AND ").join(parts or [sql.SQL("{} IS NOT NULL").format(column)]))
    if or_null:
        tests.append(sql.SQL("{} IS NULL").format(column))
    return sql.SQL("({})").format(sql.SQL(" OR ").join(tests or [sql.SQL("false")]))


def plan_ranges(
    relation: Relation, segmentation: Segmentation | None = None, only: Collection[int | None] = ()
) -> list[sql.Composed]:
    """Cut a table into ranges of pages that together cover it once; the last one has no upper end.

    What has no pages (a view) is one query. Ranges are shorter where much is stored out of line, so
    that no query carries much more than RANGE_BYTES.

    Args:
        segmentation: How the ids are cut, where only some segments are wanted; None: all rows are.
        only: The segments whose rows are wanted. The server scans every page and sends these rows.

    Returns:
        A SELECT for each: the known columns that the table has, cast, in contract order, and ROW_HASH.
    """
    columns = sql.SQL("{}, {} AS {}").format(_columns(relation), row_hash(relation), sql.Identifier(ROW_HASH))
    wanted: list[sql.Composable] = []
    if segmentation is not None:
        ranges_of_ids = segmentation.ranges(number for number in only if number is not None)
        wanted = [in_ranges(sql.Identifier(relation.table.segment_column), ranges_of_ids, or_null=None in only)]
    queries = []
    for leaf in relation.leaves:
        for bounds in _bounds(leaf):
            where = [*bounds, *wanted]
            tail = sql.SQL(" WHERE ") + sql.SQL(" AND ").join(where) if where else sql.SQL("")
            queries.append(sql.SQL("SELECT {} FROM {}{}").format(columns, leaf.source, tail))
    return queries


def plan_whole(relation: Relation) -> sql.Composed:
    """One query of all rows of a table."""
    columns = _columns(relation)
    return sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {} FROM {}").format(columns, leaf.source) for leaf in relation.leaves
    )


def row_hash(relation: Relation) -> sql.Composed:
    """SQL of the hash of a row, an int8: of the very expressions that are read (fingerprint.py says more).

    Every known column has its place, so that no column's value stands for another's.
    """
    hashed = {read.name: read.hashed for read in relation.read_columns}
    places = [hashed.get(name, sql.SQL("NULL::int4")) for name in relation.known_columns]
    values = sql.SQL(", ").join(places)
    return sql.SQL("hashint8extended(0, hash_record_extended(row({}), 0))").format(values)


def _columns(relation: Relation) -> sql.Composed:
    return sql.SQL(", ").join(column.expression for column in relation.read_columns)


def _bounds(leaf: Leaf) -> list[list[sql.Composable]]:
    if not leaf.has_pages:
        return [[]]
    bytes_per_page = max(leaf.bytes / leaf.pages, _BLOCK) if leaf.pages else _BLOCK
    step = max(1, int(RANGE_BYTES / bytes_per_page), -(-leaf.pages // MAX_RANGES))
    starts = list(range(0, max(leaf.pages, 1), step))
    bounds: list[list[sql.Composable]] = []
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        parts: list[sql.Composable] = [sql.SQL("ctid >= {}::tid").format(sql.Literal(f"({start},0)"))]
        if end is not None:
            parts.append(sql.SQL("ctid < {}::tid").format(sql.Literal(f"({end},0)")))
        bounds.append(parts)
    return bounds
