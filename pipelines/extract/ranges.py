"""What is asked of PostgreSQL: page ranges of both tables, as SQL (DESIGN 3.2). Pure: nothing is sent from here."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from pipelines.extract.catalog import Leaf, Relation

# About 85,000 candidates a query. 64 MiB took the same time and 200 MB more at the peak, 16 MiB 100 MB less.
RANGE_BYTES = 32 * 2**20
_BLOCK = 8192


@dataclass(frozen=True)
class Range:
    """One query.

    Attributes:
        relation: Table that it reads.
        query: Its SELECT: the known columns that the table has, cast, in contract order.
    """

    relation: Relation
    query: sql.Composed


def plan_ranges(relation: Relation, only: Sequence[int | None] | None = None, segment_size: int = 1) -> list[Range]:
    """Cut a table into ranges of pages that together cover it once; the last one has no upper end.

    Args:
        relation: The table.
        only: Segments whose rows are wanted; None is all. The server scans every page and sends these rows.
        segment_size: Ids of `domains` per segment.

    What has no pages (a view) is one query. Ranges are shorter where much is stored out of line, so
    that no query carries much more than RANGE_BYTES.
    """
    columns = sql.SQL(", ").join(column.expression for column in relation.read_columns)
    wanted = [] if only is None else [_of_segments(sql.Identifier(relation.table.segment_column), only, segment_size)]
    ranges = []
    for leaf in relation.leaves:
        for bounds in _bounds(leaf):
            where = [*bounds, *wanted]
            tail = sql.SQL(" WHERE ") + sql.SQL(" AND ").join(where) if where else sql.SQL("")
            ranges.append(Range(relation, sql.SQL("SELECT {} FROM {}{}").format(columns, leaf.source, tail)))
    return ranges


def _of_segments(column: sql.Identifier, segments: Sequence[int | None], segment_size: int) -> sql.Composable:
    """Rows of some segments; neighbours make one range of ids."""
    numbers = sorted(segment for segment in segments if segment is not None)
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    tests: list[sql.Composable] = [
        sql.SQL("({column} >= {low} AND {column} < {high})").format(
            column=column, low=sql.Literal(first * segment_size), high=sql.Literal((last + 1) * segment_size)
        )
        for first, last in runs
    ]
    if None in segments:
        tests.append(sql.SQL("{} IS NULL").format(column))
    return sql.SQL("({})").format(sql.SQL(" OR ").join(tests or [sql.SQL("false")]))


def _bounds(leaf: Leaf) -> list[list[sql.Composable]]:
    if not leaf.has_pages:
        return [[]]
    bytes_per_page = max(leaf.bytes / leaf.pages, _BLOCK) if leaf.pages else _BLOCK
    step = max(1, int(RANGE_BYTES / bytes_per_page))
    starts = list(range(0, max(leaf.pages, 1), step))
    bounds: list[list[sql.Composable]] = []
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        parts: list[sql.Composable] = [sql.SQL("ctid >= {}::tid").format(sql.Literal(f"({start},0)"))]
        if end is not None:
            parts.append(sql.SQL("ctid < {}::tid").format(sql.Literal(f"({end},0)")))
        bounds.append(parts)
    return bounds
