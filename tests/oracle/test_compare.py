"""The comparison with the oracle finds what differs, and nothing else."""

from pathlib import Path

import duckdb
import polars as pl
import pytest

from tests import hostile
from tests.oracle import expected
from tests.oracle.compare import (
    Expected,
    assert_formats,
    assert_same,
    canonical_row_json,
    oracle_frame,
    read_duckdb_face,
)
from tests.oracle.kit import Connection, domain
from tests.oracle.source import insert_source

pytestmark = [pytest.mark.integration, pytest.mark.fast]


@pytest.mark.parametrize("is_filled", [True, False])
def test_faces_of_a_right_snapshot_pass_and_of_a_wrong_one_fail(
    conn: Connection, tmp_path: Path, *, is_filled: bool
) -> None:
    if is_filled:
        hostile.insert_hostile(conn)
    tables = [Expected(name) for name in expected.SCHEMAS]
    with duckdb.connect(str(tmp_path / "exports.duckdb")) as published:
        for table in tables:
            rows = oracle_frame(conn, table)
            (tmp_path / table.name).mkdir()
            rows.head(7).write_parquet(tmp_path / table.name / "000000.parquet")
            rows.slice(7).write_parquet(tmp_path / table.name / "000001.parquet")
            published.register("source_rows", rows.to_arrow())
            published.execute(f"CREATE TABLE {table.name} AS FROM source_rows")
            published.unregister("source_rows")
    assert_formats(conn, tmp_path, tables)
    insert_source(conn, [domain(424_242, "one.more.example")], [])
    with pytest.raises(AssertionError, match=r"Parquet domain_exports: \d+ rows, expected \d+; .*424242, None, 1"):
        assert_formats(conn, tmp_path, tables)
    first = tables[0]
    with pytest.raises(AssertionError, match="424242"):
        assert_same(read_duckdb_face(tmp_path, first), oracle_frame(conn, first))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE {} SET status = 'other' WHERE domain_id = 3", "DuckDB domain_exports: cells differ"),
        ("CREATE OR REPLACE TABLE {0} AS FROM {0} ORDER BY domain_id DESC", "DuckDB domain_exports, physical order: "),
        ("ALTER TABLE {} ALTER retry_count TYPE BIGINT", "retry_count: actual Int64, expected Int32"),
    ],
)
def test_what_differs_in_duckdb_alone_is_found(conn: Connection, tmp_path: Path, change: str, says: str) -> None:
    insert_source(conn, [domain(number, f"d{number}.example") for number in range(5)], [])
    table = Expected("domain_exports")
    rows = oracle_frame(conn, table)
    (tmp_path / table.name).mkdir()
    rows.write_parquet(tmp_path / table.name / "000000.parquet")
    with duckdb.connect(str(tmp_path / "exports.duckdb")) as published:
        published.register("source_rows", rows.to_arrow())
        published.execute(f"CREATE TABLE {table.name} AS FROM source_rows")
    assert_formats(conn, tmp_path, [table])
    with duckdb.connect(str(tmp_path / "exports.duckdb")) as published:
        published.execute(change.format(table.name))
    with pytest.raises(AssertionError, match=says):
        assert_formats(conn, tmp_path, [table])


def test_comparison_tells_cells_rows_and_types_apart() -> None:
    base = pl.DataFrame({"domain_id": [1, 2], "name": ["a", None], "avg": [0.1, None]})
    assert_same(base, base.with_columns(avg=pl.col("avg") * (1 + 1e-14)))
    for other, message in (
        (base.with_columns(name=pl.Series(["a", "NULL"])), "row 1, name: None expected 'NULL'"),
        (base.with_columns(avg=pl.Series([0.1, 0.0])), "row 1, avg"),
        (base.with_columns(avg=pl.Series([0.1 + 1e-9, None])), "row 0, avg"),
        (base.reverse(), "row 0, domain_id: 1 expected 2"),
        (base.head(1), r"2 rows, expected 1.*\(2, 1, None\)"),
        (base.with_columns(pl.col("domain_id").cast(pl.Int32)), "domain_id: actual Int64, expected Int32"),
        (base.select("name", "domain_id", "avg"), "another order"),
    ):
        with pytest.raises(AssertionError, match=message):
            assert_same(base, other)


def test_row_json_is_compared_by_meaning_and_key_order() -> None:
    def same(one: str, other: str) -> bool:
        return canonical_row_json("gleif_candidates", one) == canonical_row_json("gleif_candidates", other)

    assert same('{"id":1,"weighted_score":85.3}', '{ "id": 1, "weighted_score": 85.30000305175781 }')
    assert same('{"weighted_score":1}', '{"weighted_score":1.0}')
    assert same('{"legal_name":"\\u00e9"}', '{"legal_name":"é"}')
    assert not same('{"id":1,"domain_id":2}', '{"domain_id":2,"id":1}')
    assert not same('{"id":1}', '{"id":1.0}')
    assert not same('{"id":1}', '{"id":"1"}')
    assert not same('{"is_primary_selection":true}', '{"is_primary_selection":1}')
    assert not same('{"legal_name":null}', '{"legal_name":"null"}')
    assert not same('{"weighted_score":85.3}', '{"weighted_score":85.30001}')
