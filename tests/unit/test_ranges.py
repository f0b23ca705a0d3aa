"""Ranges of pages cover a table once, and none carries much more than it may (DESIGN 3.2)."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from pipelines.build.pieces import MAX_RANGES
from pipelines.contracts.source import DOMAINS
from pipelines.source.catalog import Leaf, Relation
from pipelines.source.chunk import ReadColumn
from pipelines.source.ranges import RANGE_BYTES, plan_ranges

pytestmark = pytest.mark.fast

_BOUNDS = re.compile(r" WHERE ctid >= '\((\d+),0\)'::tid(?: AND ctid < '\((\d+),0\)'::tid)?$")


def relation(*leaves: Leaf) -> Relation:
    return Relation(
        table=DOMAINS,
        name=sql.Identifier("public", "domains"),
        kind="table",
        can_lock=True,
        leaves=leaves,
        was_rewritten=False,
        known_columns=("id", "domain"),
        read_columns=(
            ReadColumn("id", sql.SQL("{}").format(sql.Identifier("id")), sql.SQL("i").format()),
            ReadColumn("domain", sql.SQL('"domain"::text').format(), sql.SQL("d").format()),
        ),
        types=(),
        absent=(),
        unknown=(),
        has_unique_id=True,
    )


def leaf(name: str, pages: int, size: int | None = None, *, has_pages: bool = True) -> Leaf:
    source = sql.SQL("ONLY {}").format(sql.Identifier("s", name))
    return Leaf(source, pages, pages * 8192 if size is None else size, has_pages)


def queries(*leaves: Leaf) -> list[str]:
    return [query.as_string() for query in plan_ranges(relation(*leaves))]


def bounds(query: str) -> tuple[int, int | None]:
    found = _BOUNDS.search(query)
    assert found, query
    return int(found[1]), int(found[2]) if found[2] else None


def test_what_has_no_pages_is_one_query() -> None:
    view = leaf("view", 0, has_pages=False)
    row_hash = 'hashint8extended(0, hash_record_extended(row(i, d), 0)) AS "row_hash"'
    assert queries(view) == [f'SELECT "id" AS "id", "domain"::text AS "domain", {row_hash} FROM ONLY "s"."view"']


def test_a_table_without_pages_is_read_all_the_same() -> None:
    # Rows may have come since its size was asked for.
    assert bounds(queries(leaf("t", 0))[0]) == (0, None)


@given(pages=st.integers(0, 200_000), out_of_line=st.integers(0, 2**36))
def test_every_page_once_and_the_last_range_open(pages: int, out_of_line: int) -> None:
    size = pages * 8192 + (out_of_line if pages else 0)
    if size / RANGE_BYTES > 3000:
        size = pages * 8192
    found = [bounds(query) for query in queries(leaf("t", pages, size))]
    assert found[0][0] == 0
    assert [end for _, end in found[:-1]] == [start for start, _ in found[1:]]
    assert all(start < end for start, end in found[:-1] if end is not None)
    assert found[-1][1] is None
    assert all(end is not None for _, end in found[:-1])
    assert found[-1][0] < max(pages, 1)
    for (start, _), (end, _) in pairwise(found):
        is_small = (end - start) * (size / pages) <= RANGE_BYTES or end - start == 1
        assert is_small or end - start == -(-pages // MAX_RANGES)
    assert len(found) <= MAX_RANGES


@pytest.mark.parametrize(("pages", "size", "count"), [(4096, 2**25, 1), (4097, 2**25 + 8192, 2), (8, 2**29, 8)])
def test_ranges_are_shorter_where_much_is_stored_out_of_line(pages: int, size: int, count: int) -> None:
    assert len(queries(leaf("t", pages, size))) == count


def test_each_leaf_has_its_own_ranges() -> None:
    found = queries(leaf("a", 5_000), leaf("b", 0), leaf("c", 1, has_pages=False))
    assert [re.search(r'"s"\."(.)"', query)[1] for query in found] == ["a", "a", "b", "c"]  # type: ignore[index]
