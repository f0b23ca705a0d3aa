"""Rank order is the same whatever the ids: packed into one integer or not, in frames, in Python, in DuckDB."""

from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.contracts.orders import RANK_ORDER_SQL, rank_key
from pipelines.transform.ordering import sort_best_first, sort_by_rank, sort_latest_last

pytestmark = pytest.mark.fast

ID_MIN, ID_MAX = -(2**63), 2**63 - 1
RANK_MIN, RANK_MAX = -(2**31), 2**31 - 1
SCHEMA = {"domain_id": pl.Int64, "rank_position": pl.Int32, "id": pl.Int64}
ranks = st.one_of(st.none(), st.integers(RANK_MIN, RANK_MAX), st.sampled_from([RANK_MIN, -1, 0, 1, RANK_MAX]))
any_ids = st.one_of(st.integers(ID_MIN, ID_MAX), st.sampled_from([ID_MIN, -1, 0, 2**62, ID_MAX]))


def ids_from(first: int) -> st.SearchStrategy[int]:
    """Ids of a segment, and some that are too far apart to be packed with a rank."""
    offsets = st.one_of(st.integers(0, 3), st.sampled_from([2**29 - 1, 2**29, 2**29 + 1, 2**30, 2**31]))
    return offsets.map(lambda offset: first + offset)


def rows_with(domain_ids: st.SearchStrategy[int]) -> st.SearchStrategy[list[tuple[int | None, int | None, int]]]:
    row = st.tuples(st.one_of(st.none(), domain_ids), ranks, any_ids)
    return st.lists(row, max_size=30, unique_by=lambda row: row[2])


rows_anywhere = st.one_of(
    rows_with(any_ids), *(rows_with(ids_from(first)) for first in (ID_MIN, -(2**29), 0, 2**62, ID_MAX - 2**31 - 3))
)


@settings(max_examples=300, deadline=None)
@given(rows=rows_anywhere)
def test_rank_order_like_python(rows: list[tuple[int | None, int | None, int]]) -> None:
    found = sort_by_rank(pl.DataFrame(rows, schema=SCHEMA, orient="row")).rows()
    assert found == sorted(rows, key=lambda row: (row[0] is None, row[0] or 0, rank_key(row[1], row[2])))


def test_rank_order_in_duckdb() -> None:
    rows = [(1, ID_MAX), (None, ID_MIN), (None, 3), (RANK_MAX, 2), (RANK_MIN, 5), (1, ID_MIN), (0, 0)]
    values = ", ".join(f"({'NULL' if rank is None else rank}, CAST({number} AS BIGINT))" for rank, number in rows)
    query = f"SELECT * FROM (VALUES {values}) AS t (rank_position, candidate_id) ORDER BY {RANK_ORDER_SQL}"
    with duckdb.connect() as connection:
        assert connection.sql(query).fetchall() == sorted(rows, key=lambda row: rank_key(*row))


@pytest.mark.parametrize(
    "ids", [(1, 2), (-1, 0), (ID_MIN, ID_MAX), (2**53, 2**53 + 1), (2**62, 2**62 + 1)], ids=lambda ids: str(ids[0])
)
def test_the_latest_row_is_the_one_with_the_higher_id_where_times_are_equal(ids: tuple[int, int]) -> None:
    for order in (ids, ids[::-1]):
        rows: list[dict[str, Any]] = [{"created_at": None, "candidate_id": number} for number in order]
        frame = pl.LazyFrame(rows, schema={"created_at": pl.Datetime("us"), "candidate_id": pl.Int64})
        assert sort_latest_last(frame).collect()["candidate_id"].to_list() == list(ids)


def test_groups_are_ascending_and_the_best_row_of_each_is_first() -> None:
    schema = {
        "group": pl.UInt32,
        "status": pl.String,
        "final_confidence": pl.Int32,
        "confidence_score": pl.Float32,
        "processed_at": pl.Datetime("us"),
        "domain_id": pl.Int64,
    }
    # The smallest confidence counts: with 1 added to both it is none.
    rows = [(1, "success", None, 0.0, None, 3), (1, "success", None, 1e-30, None, 2), (1, "failed", 99, None, None, 4)]
    rows += [(0, "failed", 5, None, None, 1), (2, "failed", None, None, None, 6), (2, "failed", None, None, None, 7)]
    frame = pl.LazyFrame(rows, schema=schema, orient="row")
    assert sort_best_first(frame, "group").collect()["domain_id"].to_list() == [1, 2, 3, 4, 7, 6]
