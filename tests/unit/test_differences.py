"""Which rows differ between two states of a table, cell by cell."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.transform.differences import differing_rows

pytestmark = pytest.mark.fast

SCHEMA = {"id": pl.Int32, "text": pl.String, "real": pl.Float32, "other": pl.Int32}
COLUMNS = ["id", "text", "real"]
Row = tuple[int, str | None, float | None, int | None]


def frame(rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def ids(before: list[Row], now: list[Row]) -> list[int]:
    return differing_rows(frame(before), frame(now), COLUMNS)["id"].to_list()


BEFORE: list[Row] = [(1, "a", 0.0, 1), (2, None, None, 1), (3, "", 0.5, 1)]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (BEFORE, []),
        ([BEFORE[2], BEFORE[0], BEFORE[1]], []),
        ([(1, "a", 0.0, 9), (2, None, None, None), (3, "", 0.5, 0)], []),
        ([(1, "a", -0.0, 1), *BEFORE[1:]], [1, 1]),
        ([BEFORE[0], (2, "", None, 1), BEFORE[2]], [2, 2]),
        ([BEFORE[0], BEFORE[1], (3, None, 0.5, 1)], [3, 3]),
        ([BEFORE[0], BEFORE[1], (4, "", 0.5, 1)], [3, 4]),
        (BEFORE[1:], [1]),
        ([*BEFORE, (5, None, None, None)], [5]),
        ([], [1, 2, 3]),
    ],
    ids=[
        "nothing", "order", "a column that is not compared", "-0.0", "NULL to empty", "empty to NULL", "another id",
        "a row is gone", "a row is new", "all are gone",
    ],
)  # fmt: skip
def test_rows_that_differ(now: list[Row], expected: list[int]) -> None:
    assert ids(BEFORE, now) == expected
    assert ids([], []) == []


rows = st.lists(
    st.tuples(
        st.integers(0, 6), st.sampled_from([None, "", "a"]), st.sampled_from([None, 0.0, 1.5]), st.integers(0, 1)
    ),
    max_size=6,
    unique_by=lambda row: row[0],
)


@given(rows, rows)
def test_any_rows(before: list[Row], now: list[Row]) -> None:
    found = differing_rows(frame(before), frame(now), COLUMNS)
    old, new = {row[:3] for row in before}, {row[:3] for row in now}
    assert sorted(found["id"].to_list()) == sorted(row[0] for row in [*(old - new), *(new - old)])
