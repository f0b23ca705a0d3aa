"""What is asked of PostgreSQL: page ranges of both tables, as SQL (DESIGN 3.2). Pure: nothing is sent from here."""

from dataclasses import dataclass

from psycopg import sql

from pipelines.extract.catalog import Leaf, Relation

# 64 MiB of table a query: about 170,000 candidates. 2,000 to 16,000 pages took the same time, with 161 to 430 MB.
RANGE_BYTES = 64 * 2**20
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


def plan_ranges(relation: Relation) -> list[Range]:
    """Cut a table into ranges of pages that together cover it once; the last one has no upper end.

    What has no pages (a view, a foreign table) is one query. Ranges are shorter where much is stored out of line, so
    that no query carries much more than RANGE_BYTES.
    """
    columns = sql.SQL(", ").join(column.expression for column in relation.read_columns)
    return [
        Range(relation, sql.SQL("SELECT {} FROM {}{}").format(columns, leaf.name, bounds))
        for leaf in relation.leaves
        for bounds in _bounds(leaf)
    ]


def _bounds(leaf: Leaf) -> list[sql.Composable]:
    if not leaf.has_pages:
        return [sql.SQL("")]
    bytes_per_page = max(leaf.bytes / leaf.pages, _BLOCK) if leaf.pages else _BLOCK
    step = max(1, int(RANGE_BYTES / bytes_per_page))
    starts = list(range(0, max(leaf.pages, 1), step))
    bounds: list[sql.Composable] = []
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        parts = [sql.SQL(" WHERE ctid >= {}::tid").format(sql.Literal(f"({start},0)"))]
        if end is not None:
            parts.append(sql.SQL(" AND ctid < {}::tid").format(sql.Literal(f"({end},0)")))
        bounds.append(sql.Composed(parts))
    return bounds
