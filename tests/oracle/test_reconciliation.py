"""The oracle's tables agree with each other and with the source, on hostile, random and real rows and other types."""

import json
from pathlib import Path

import polars as pl
import pytest

from tests import hostile
from tests.oracle import expected
from tests.oracle.compare import Expected, assert_same, oracle_frame
from tests.oracle.kit import APPLE, JULY, Connection, candidate, computed, domain, md5, rows_of
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, insert_source, load_csv_dir
from tests.random_rows import random_rows

pytestmark = [pytest.mark.integration, pytest.mark.fast]


def assert_reconciles(conn: Connection) -> None:
    counts = {
        table: conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # type: ignore[index,call-overload]
        for table in expected.SOURCE
    }
    domains, candidates = computed(conn, "domain_exports"), computed(conn, "candidate_exports")
    rejected, entities = computed(conn, "rejected_rows"), computed(conn, "entities")
    unique, batches = computed(conn, "unique_domains"), computed(conn, "batch_summaries")
    by_table = dict(rejected.group_by("source_table").len().iter_rows())
    assert counts["domains"] == domains.height + by_table.get("domains", 0)
    assert counts["gleif_candidates"] == candidates.height + by_table.get("gleif_candidates", 0)
    assert candidates.height == domains["gleif_candidate_count"].sum()
    assert candidates.height == entities["candidate_count"].sum() == batches["candidate_count"].sum()
    assert candidates.height == computed(conn, "jurisdiction_summaries")["candidate_count"].sum()
    assert domains.height == unique["result_count"].sum() == batches["result_count"].sum()
    for name in expected.SCHEMAS:
        key = list(expected.KEYS[name])
        assert not computed(conn, name).select(key).is_duplicated().any(), name
    # The joined texts, once more by Polars.
    joined = candidates.group_by("domain_id", maintain_order=True).agg(
        pl.col("lei_code").alias("lei_codes"),
        pl.col("legal_name").str.join("; ").alias("all_legal_names"),
        pl.col("jurisdiction").fill_null("").str.join("; ").alias("all_jurisdictions"),
    )
    have = domains.filter(pl.col("gleif_candidate_count") > 0)
    assert_same(joined, have.select(joined.columns))


def test_hostile_rows_reconcile(conn: Connection) -> None:
    rows = hostile.insert_hostile(conn)
    assert_reconciles(conn)
    reasons = set(computed(conn, "rejected_rows")["reason"])
    assert len(reasons) == 7
    assert computed(conn, "domain_exports")["gleif_candidate_count"].max() == 3000
    full = [row for row in rows.domains if set(row) == set(expected.DOMAINS) and None not in row.values()]
    assert len(full) == 2


@pytest.mark.parametrize("seed", range(5))
def test_random_rows_reconcile(conn: Connection, seed: int) -> None:
    assert random_rows(seed, 60) == random_rows(seed, 60)
    insert_source(conn, *random_rows(seed, 60))
    assert_reconciles(conn)


def test_shared_data_reconciles(conn: Connection, shared_data: Path) -> None:
    assert load_csv_dir(conn, shared_data) == {"domains": 2824, "gleif_candidates": 5879}
    assert_reconciles(conn)
    # As its README says: domain_hash = md5(lower(trim(domain))), 1,107 domains, 3,541 LEIs, 128 jurisdictions.
    hashes = dict(conn.execute("SELECT id, domain_hash FROM domains").fetchall())
    assert dict(computed(conn, "domain_exports").select("domain_id", "domain_hash").iter_rows()) == hashes
    assert computed(conn, "unique_domains").height == 1107
    assert computed(conn, "entities").height == 3541
    assert computed(conn, "jurisdiction_summaries").height == 128


def test_old_and_other_column_types(database: Database) -> None:
    with database.connect() as conn:
        conn.execute("CREATE TYPE state AS ENUM ('failed', 'success')")
        columns = {
            "domains": {
                "domain_hash": None,
                "level2_attempted": None,
                "extraction_timestamp": None,
                "final_confidence": None,
                "company_name": None,
                "status": "state",
                "domain": "varchar(255)",
                "batch_id": "uuid",
                "guessed_country": "char(4)",
                "confidence_score": "integer",
                "retry_count": "smallint",
                "created_at": "timestamptz",
                "extraction_attempts": "json",
                "not_known": "bytea",
            },
            "gleif_candidates": {"gleif_full_data": None, "weighted_score": "smallint", "created_at": "timestamptz"},
        }
        create_source_tables(conn, 'Odd "Schema"', columns, id_type="integer PRIMARY KEY")
        batch = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
        more = {"guessed_country": "NO", "confidence_score": 90, "retry_count": 3, "extraction_attempts": '[1 ,"2"]'}
        insert_source(
            conn,
            [
                domain(1, "X.example", batch, created_at="2025-07-01 03:02:03.000004+02", **more),
                domain(2, "y", None, created_at="-infinity"),
            ],
            [candidate(1, 1, APPLE, weighted_score=7, created_at="2025-06-30 17:02:03.000004-08")],
            'Odd "Schema"',
        )
        conn.execute("SET TimeZone = 'Asia/Tokyo'")
        frames = {name: oracle_frame(conn, Expected(name), 'Odd "Schema"') for name in expected.SCHEMAS}
    assert_same(
        frames["domain_exports"],
        rows_of(
            "domain_exports",
            {
                "domain_id": 1,
                "domain_hash": md5("x.example"),
                "domain": "X.example",
                "status": "success",
                "confidence_score": 90.0,
                "guessed_country": "NO",
                "retry_count": 3,
                "extraction_attempts": '[1 ,"2"]',
                "batch_id": batch,
                "created_at": JULY,
                "gleif_candidate_count": 1,
                "all_lei_codes": APPLE,
                "all_legal_names": "N",
                "all_jurisdictions": "",
                "all_entity_statuses": "",
                "lei_codes": [APPLE],
            },
        ),
    )
    assert frames["candidate_exports"].select("weighted_score", "created_at").rows() == [(7.0, JULY)]
    text = frames["rejected_rows"]["row_json"][0]
    wanted = dict.fromkeys(expected.DOMAINS) | {"id": 2, "domain": "y", "status": "success"}
    assert list(json.loads(text).items()) == list(wanted.items())


def test_oracle_sees_an_imported_snapshot_in_a_read_only_transaction(database: Database, conn: Connection) -> None:
    insert_source(conn, [domain(1, "a")], [])
    with database.connect() as exporter, database.connect() as reader:
        exporter.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        (snapshot,) = exporter.execute("SELECT pg_export_snapshot()").fetchone()  # type: ignore[misc]
        insert_source(conn, [domain(2, "b")], [])
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        reader.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        assert computed(reader, "domain_exports")["domain_id"].to_list() == [1]
    assert computed(conn, "domain_exports")["domain_id"].to_list() == [1, 2]
