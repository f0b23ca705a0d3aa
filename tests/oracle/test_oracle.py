"""The oracle against hand-computed rows, python-stdnum, Python's own text functions, and the contracts."""

import csv
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import psycopg
import pytest
from stdnum import lei as stdnum_lei

from pipelines.contracts.source import SOURCE_TABLES
from pipelines.contracts.tables import published_tables
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
from tests.oracle.postgres import Database
from tests.oracle.source import Row, create_source_tables, insert_source, load_csv_dir

pytestmark = [pytest.mark.integration, pytest.mark.fast]

Connection = psycopg.Connection[Any]
APPLE, INTEL, CISCO = "HWUPKR0MPOU8FGXBT394", "KNX4USFCNGPY45LOCE31", "13250000000000000107"
JUNE, JULY, AUGUST = datetime(2025, 6, 1), datetime(2025, 7, 1, 1, 2, 3, 4), datetime(2025, 8, 1)  # noqa: DTZ001


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """An empty source, and a connection to it."""
    with database.connect() as conn:
        create_source_tables(conn)
        yield conn


def frame(name: str, *rows: Row) -> pl.DataFrame:
    """Hand-written rows of a table; columns that a row does not name are NULL."""
    schema = expected.SCHEMAS[name]
    assert all(set(row) <= set(schema) for row in rows)
    return pl.DataFrame([{column: row.get(column) for column in schema} for row in rows], schema=schema)


def computed(conn: Connection, name: str) -> pl.DataFrame:
    return oracle_frame(conn, Expected(name))


def domain(number: int, name: str | None, batch: str | None = "b1", status: str | None = "success", **more: Any) -> Row:
    return {"id": number, "domain": name, "batch_id": batch, "status": status, **more}


def candidate(number: int, owner: int | None, code: str | None, name: str | None = "N", **more: Any) -> Row:
    return {"id": number, "domain_id": owner, "lei_code": code, "legal_name": name, **more}


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


NO_CANDIDATES = {
    "all_lei_codes": "",
    "all_legal_names": "",
    "all_jurisdictions": "",
    "all_entity_statuses": "",
    "lei_codes": [],
}


def test_contracts_are_what_design_says() -> None:
    for table in SOURCE_TABLES:
        columns = {name: column.dtype for name, column in table.schema.columns().items()}
        wanted = {name: expected.read_dtype(name, kind) for name, kind in expected.SOURCE[table.name].items()}
        assert list(columns.items()) == list(wanted.items()), table.name
    for full in (False, True):
        for table in published_tables(include_full_data=full):
            wanted_table = Expected(table.name, include_full_data=full)
            assert list(table.polars_schema.items()) == list(wanted_table.polars_schema.items()), table.name
            assert table.sort_by == wanted_table.sort_by
            assert set(table.key) == set(expected.KEYS[table.name])


def test_empty_tables_give_empty_frames(conn: Connection) -> None:
    for name, schema in expected.SCHEMAS.items():
        assert_same(computed(conn, name), schema.to_frame())


def test_domain_exports(conn: Connection) -> None:
    insert_source(
        conn,
        [
            domain(7, "none.example", confidence_score="85.3", created_at="2025-07-01 01:02:03.000004"),
            domain(2, " Apple.COM\u3000", domain_hash="wrong", level2_attempted=False, processed_at="infinity"),
            domain(3, "null.example", confidence_score="NaN", retry_count=-1),
            domain(4, " "),
        ],
        [
            candidate(10, 2, CISCO, "last", jurisdiction="X", entity_status="ACTIVE"),
            candidate(12, 2, INTEL, 'A; "B"', rank_position=5, jurisdiction="US", entity_status=None),
            candidate(11, 2, APPLE, "tied, lower id", rank_position=5, entity_status="NULL"),
            candidate(13, 2, APPLE, "duplicate", rank_position=6),
            candidate(14, 3, APPLE, "only"),
        ],
    )
    assert_same(
        computed(conn, "domain_exports"),
        frame(
            "domain_exports",
            {
                "domain_id": 2,
                "domain_hash": md5("apple.com"),
                "domain": " Apple.COM\u3000",
                "status": "success",
                "batch_id": "b1",
                "level2_attempted": False,
                "gleif_candidate_count": 3,
                "all_lei_codes": f"{APPLE}; {INTEL}; {CISCO}",
                "all_legal_names": 'tied, lower id; A; "B"; last',
                "all_jurisdictions": "; US; X",
                "all_entity_statuses": "NULL; ; ACTIVE",
                "lei_codes": [APPLE, INTEL, CISCO],
            },
            {
                "domain_id": 3,
                "domain_hash": md5("null.example"),
                "domain": "null.example",
                "status": "success",
                "retry_count": -1,
                "batch_id": "b1",
                "gleif_candidate_count": 1,
                "all_lei_codes": APPLE,
                "all_legal_names": "only",
                "all_jurisdictions": "",
                "all_entity_statuses": "",
                "lei_codes": [APPLE],
            },
            {
                "domain_id": 7,
                "domain_hash": md5("none.example"),
                "domain": "none.example",
                "status": "success",
                "confidence_score": 85.3,
                "batch_id": "b1",
                "created_at": JULY,
                "gleif_candidate_count": 0,
                **NO_CANDIDATES,
            },
        ),
    )


def test_candidate_exports(conn: Connection) -> None:
    insert_source(
        conn,
        [domain(9, "b.example"), domain(-1, "A.example", "b2"), domain(5, None)],
        [
            candidate(1, 9, APPLE, None, rank_position=1),
            candidate(2, 9, APPLE, "kept", rank_position=2, weighted_score="1e-45", is_primary_selection=True),
            candidate(3, 9, APPLE, "dropped", rank_position=3),
            candidate(4, 9, INTEL.lower(), "lower case", created_at="2025-07-01 01:02:03.000004"),
            candidate(5, 9, f"{INTEL}\n", "line end", rank_position=-7),
            candidate(6, -1, CISCO, "digits", weighted_score="-Infinity", created_at="0044-03-15 00:00:00 BC"),
            candidate(7, 5, CISCO, "orphan"),
            candidate(8, None, CISCO, "orphan"),
        ],
    )
    common_9 = {"domain_id": 9, "domain_hash": md5("b.example"), "domain": "b.example", "batch_id": "b1"}
    wanted = frame(
        "candidate_exports",
        {
            "candidate_id": 6,
            "domain_id": -1,
            "domain_hash": md5("a.example"),
            "domain": "A.example",
            "batch_id": "b2",
            "lei_code": CISCO,
            "legal_name": "digits",
            "is_valid_lei": True,
        },
        {
            "candidate_id": 5,
            **common_9,
            "lei_code": f"{INTEL}\n",
            "legal_name": "line end",
            "rank_position": -7,
            "is_valid_lei": False,
        },
        {
            "candidate_id": 2,
            **common_9,
            "lei_code": APPLE,
            "legal_name": "kept",
            "rank_position": 2,
            "weighted_score": 2**-149,
            "is_primary_selection": True,
            "is_valid_lei": True,
        },
        {
            "candidate_id": 4,
            **common_9,
            "lei_code": INTEL.lower(),
            "legal_name": "lower case",
            "created_at": JULY,
            "is_valid_lei": False,
        },
    )
    # numpy.datetime64("-0043-03-15"), 44 BC: 735,160 days before 1970 in the proleptic Gregorian calendar.
    bc = pl.Series([-735_160 * 86_400_000_000, None, None, None]).cast(pl.Datetime("us"))
    wanted = wanted.with_columns(created_at=pl.coalesce(bc, "created_at"))
    assert_same(computed(conn, "candidate_exports"), wanted)


def test_full_data_stands_in_its_place_and_is_byte_exact(conn: Connection) -> None:
    text = '{ "b" : 1.10 ,"a":12345678901234567890123, "b":2 }'
    insert_source(
        conn,
        [domain(1, "a.example")],
        [candidate(1, 1, APPLE, gleif_full_data=text), candidate(2, 1, APPLE, gleif_full_data=text)],
    )
    kept = oracle_frame(conn, Expected("candidate_exports", include_full_data=True))
    assert kept["gleif_full_data"].to_list() == [text]
    assert kept.columns[-3:] == ["gleif_full_data", "created_at", "is_valid_lei"]
    rejected = oracle_frame(conn, Expected("rejected_rows"), include_full_data=True)
    assert json.loads(rejected["row_json"][0])["gleif_full_data"] == text
    rejected = oracle_frame(conn, Expected("rejected_rows"))
    assert list(json.loads(rejected["row_json"][0])) == [
        c for c in expected.GLEIF_CANDIDATES if c != expected.FULL_DATA
    ]


def test_rejected_rows(conn: Connection) -> None:
    insert_source(
        conn,
        [
            domain(1, "good.example"),
            domain(2, None, None, None),
            domain(3, "\ufeff", None),
            domain(4, "a", None, None),
            domain(5, "a", "\t", ""),
            domain(6, "a", "b", None),
            domain(7, "a", "b", "\u2028"),
            domain(8, "\u0085", "\u200b", "\u180e"),
        ],
        [
            candidate(21, 1, None, None),
            candidate(22, 99, " "),
            candidate(23, 1, APPLE, None, rank_position=1),
            candidate(24, None, APPLE, "\u3000"),
            candidate(25, None, APPLE),
            candidate(26, 99, APPLE),
            candidate(27, 99, APPLE),
            candidate(28, 2, APPLE),
            candidate(29, 1, APPLE, rank_position=2),
            candidate(30, 1, APPLE, rank_position=3),
            candidate(31, 1, APPLE),
        ],
    )
    d, c = "domains", "gleif_candidates"
    wanted = [
        (c, 21, 1, "missing_lei_code", "lei_code is NULL"),
        (c, 23, 1, "missing_legal_name", "legal_name is NULL"),
        (c, 30, 1, "duplicate_candidate", "same lei_code as candidate 29, which is first in rank order"),
        (c, 31, 1, "duplicate_candidate", "same lei_code as candidate 29, which is first in rank order"),
        (d, 2, 2, "missing_domain", "domain is NULL"),
        (c, 28, 2, "orphan_candidate", "row 2 of domains is rejected"),
        (d, 3, 3, "missing_domain", "domain is blank"),
        (d, 4, 4, "missing_batch_id", "batch_id is NULL"),
        (d, 5, 5, "missing_batch_id", "batch_id is blank"),
        (d, 6, 6, "missing_status", "status is NULL"),
        (d, 7, 7, "missing_status", "status is blank"),
        (c, 22, 99, "missing_lei_code", "lei_code is blank"),
        (c, 26, 99, "orphan_candidate", "no row 99 in domains"),
        (c, 27, 99, "orphan_candidate", "no row 99 in domains"),
        (c, 24, None, "missing_legal_name", "legal_name is blank"),
        (c, 25, None, "orphan_candidate", "domain_id is NULL"),
    ]
    assert computed(conn, "rejected_rows").drop("row_json").rows() == wanted


def test_row_json(conn: Connection) -> None:
    insert_source(
        conn,
        [
            domain(
                1,
                'a"\n\u2028é',
                None,
                domain_hash="as the source has it",
                confidence_score="85.3",
                retry_count=0,
                level2_attempted=True,
                manual_review_required=False,
                created_at="2025-07-01 01:02:03.4",
                processed_at="infinity",
                processing_started_at="0044-03-15 12:34:56 BC",
                extraction_timestamp="200000-01-02 00:00:00.000001",
            )
        ],
        [candidate(1, None, APPLE, created_at="0001-12-31 23:59:59 BC", weighted_score="NaN", rank_position=1)],
    )
    rows = computed(conn, "rejected_rows")
    of_domain, of_candidate = (json.loads(text) for text in rows["row_json"])
    wanted = dict.fromkeys(expected.DOMAINS) | {
        "id": 1,
        "domain_hash": "as the source has it",
        "domain": 'a"\n\u2028é',
        "status": "success",
        "confidence_score": 85.3,
        "retry_count": 0,
        "created_at": "2025-07-01T01:02:03.400000Z",
        "processing_started_at": "-0043-03-15T12:34:56.000000Z",
        "level2_attempted": True,
        "extraction_timestamp": "+200000-01-02T00:00:00.000001Z",
        "manual_review_required": False,
    }
    assert list(of_domain.items()) == list(wanted.items())
    assert of_candidate["created_at"] == "0000-12-31T23:59:59.000000Z"
    assert (of_candidate["weighted_score"], of_candidate["rank_position"]) == (None, 1)


def test_unique_domains(conn: Connection) -> None:
    insert_source(
        conn,
        [
            domain(1, "X.example", "b1", "failed", final_confidence=99, created_at=JULY, processed_at=AUGUST),
            domain(2, "x.example ", "b2", confidence_score="90", processed_at=AUGUST, company_name="by score"),
            domain(
                3, "x.example", "b2", final_confidence=90, confidence_score="1", processed_at=AUGUST, created_at=JUNE
            ),
            domain(4, "x.example", "b3", final_confidence=90, processed_at=JULY),
            domain(5, "x.example", "b3", "Success", final_confidence=100),
            domain(6, "x.example", "b3", final_confidence=90, processed_at="infinity"),
            domain(7, "alone.example", "b3", "pending", guessed_country="NO"),
        ],
        [
            candidate(1, 1, APPLE, "old", rank_position=2, created_at=JUNE, jurisdiction="US"),
            candidate(2, 2, APPLE, "new", created_at=JULY, jurisdiction=None, entity_status="ACTIVE"),
            candidate(3, 3, APPLE, "oldest: NULL", rank_position=9),
            candidate(4, 4, INTEL, "low id", rank_position=2),
            candidate(5, 5, INTEL, "high id"),
            candidate(6, 5, CISCO, "no rank"),
            candidate(7, 6, "B", "one row", rank_position=2),
            candidate(8, 6, "A", "one row, first by code", rank_position=2),
            candidate(9, 6, "Z", "best rank", rank_position=-1),
        ],
    )
    hashes = sorted([md5("x.example"), md5("alone.example")])
    alone = {
        "domain_hash": md5("alone.example"),
        "domain": "alone.example",
        "result_count": 1,
        "batch_count": 1,
        "success_count": 0,
        "failed_count": 0,
        "best_domain_id": 7,
        "best_batch_id": "b3",
        "status": "pending",
        "guessed_country": "NO",
        "distinct_lei_count": 0,
        **NO_CANDIDATES,
    }
    several = {
        "domain_hash": md5("x.example"),
        "domain": "x.example",
        "result_count": 6,
        "batch_count": 3,
        "success_count": 4,
        "failed_count": 1,
        # 2 and 3 tie by confidence and time: the higher id. 6 has no time: 'infinity' is NULL, which is last.
        "best_domain_id": 3,
        "best_batch_id": "b2",
        "status": "success",
        "confidence_score": 1.0,
        "final_confidence": 90,
        "first_created_at": JUNE,
        "last_processed_at": AUGUST,
        "distinct_lei_count": 6,
        "all_lei_codes": f"Z; {APPLE}; {INTEL}; A; B; {CISCO}",
        "all_legal_names": "best rank; new; high id; one row, first by code; one row; no rank",
        "all_jurisdictions": "; ; ; ; ; ",
        "all_entity_statuses": "; ACTIVE; ; ; ; ",
        "lei_codes": ["Z", APPLE, INTEL, "A", "B", CISCO],
    }
    wanted = [several, alone] if hashes[0] == md5("x.example") else [alone, several]
    assert_same(computed(conn, "unique_domains"), frame("unique_domains", *wanted))


def test_entities(conn: Connection) -> None:
    insert_source(
        conn,
        [
            domain(1, "\u00e9.example"),
            domain(2, "Z.example"),
            domain(3, "z.example", "b2"),
            domain(4, "z.example", "b2"),
        ],
        [
            candidate(1, 1, APPLE, "first", rank_position=3, created_at=JULY, is_primary_selection=True),
            candidate(
                2,
                2,
                APPLE,
                "latest, highest id",
                created_at=JULY,
                jurisdiction="US-CA",
                entity_status="ACTIVE",
                registration_status="ISSUED",
                legal_form="H1UM",
                entity_category="GENERAL",
            ),
            candidate(3, 3, APPLE, "older", rank_position=2, created_at=JUNE, is_primary_selection=True),
            candidate(4, 4, APPLE, "no time", is_primary_selection=False),
            candidate(5, 4, APPLE, "duplicate", rank_position=9, created_at=AUGUST),
            candidate(6, 1, "a", "first by bytes after upper case"),
            candidate(7, 1, "Z", "no check digits"),
        ],
    )
    # 5 has a rank, 4 has none: 5 is kept and 4 the duplicate.
    small = {"is_valid_lei": False, "candidate_count": 1, "domain_count": 1, "batch_count": 1, "primary_count": 0}
    assert_same(
        computed(conn, "entities"),
        frame(
            "entities",
            {
                "lei_code": APPLE,
                "legal_name": "duplicate",
                "is_valid_lei": True,
                "candidate_count": 4,
                "domain_count": 2,
                "batch_count": 2,
                "primary_count": 2,
                "best_rank": 2,
                "domains": ["z.example", "\u00e9.example"],
                "first_seen_at": JUNE,
                "last_seen_at": AUGUST,
            },
            {"lei_code": "Z", "legal_name": "no check digits", **small, "domains": ["\u00e9.example"]},
            {"lei_code": "a", "legal_name": "first by bytes after upper case", **small, "domains": ["\u00e9.example"]},
        ),
    )


def test_entities_take_the_latest_row_and_of_these_the_highest_id(conn: Connection) -> None:
    rows = [
        candidate(3, 1, APPLE, "tied, highest id", created_at=JULY, jurisdiction="NO"),
        candidate(2, 2, APPLE, "tied", created_at=JULY, jurisdiction="DE"),
        candidate(9, 3, APPLE, "no time"),
    ]
    insert_source(conn, [domain(number, "a") for number in (1, 2, 3)], rows)
    assert computed(conn, "entities").select("legal_name", "jurisdiction").rows() == [("tied, highest id", "NO")]


def test_batch_summaries(conn: Connection) -> None:
    review = {"manual_review_required": True}
    insert_source(
        conn,
        [
            domain(1, "a", confidence_score="10", processing_time_ms=100, primary_lei_code=APPLE, created_at=JULY),
            domain(2, "A ", confidence_score="20", processing_time_ms=200, primary_lei_code=" ", **review),
            domain(3, "b", status="failed", confidence_score="90", processed_at=JUNE, manual_review_required=False),
            domain(4, "c", status="pending", confidence_score="NaN", processing_time_ms=0, processed_at=JULY),
            domain(5, "d", status="processing", confidence_score="0.1", created_at=JUNE),
            domain(6, "e", status="SUCCESS"),
            domain(7, "f", batch="B2", status="failed"),
            domain(8, "f", batch=None),
        ],
        [
            candidate(1, 1, APPLE),
            candidate(2, 1, APPLE),
            candidate(3, 1, INTEL),
            candidate(4, 3, APPLE),
            candidate(5, 4, None),
        ],
    )
    tenth = 0.10000000149011612  # the float4 0.1, as float8
    assert_same(
        computed(conn, "batch_summaries"),
        frame(
            "batch_summaries",
            {
                "batch_id": "B2",
                "result_count": 1,
                "unique_domain_count": 1,
                "success_count": 0,
                "failed_count": 1,
                "pending_count": 0,
                "processing_count": 0,
                "other_count": 0,
                "success_pct": 0.0,
                "with_candidates_count": 0,
                "with_candidates_pct": 0.0,
                "candidate_count": 0,
                "distinct_lei_count": 0,
                "with_primary_count": 0,
                "manual_review_count": 0,
            },
            {
                "batch_id": "b1",
                "result_count": 6,
                "unique_domain_count": 5,
                "success_count": 2,
                "failed_count": 1,
                "pending_count": 1,
                "processing_count": 1,
                "other_count": 1,
                "success_pct": 100 / 3,
                "with_candidates_count": 2,
                "with_candidates_pct": 100 / 3,
                "candidate_count": 3,
                "distinct_lei_count": 2,
                "with_primary_count": 1,
                "manual_review_count": 1,
                "confidence_score_avg": (10 + 20 + 90 + tenth) / 4,
                "confidence_score_median": 15.0,
                "processing_time_ms_avg": 100.0,
                "processing_time_ms_p95": 190.0,
                "first_created_at": JUNE,
                "last_processed_at": JULY,
            },
        ),
    )


def test_jurisdiction_summaries(conn: Connection) -> None:
    insert_source(
        conn,
        [domain(1, "a"), domain(2, "A"), domain(3, "b")],
        [
            candidate(1, 1, APPLE, jurisdiction="NO", entity_status="ACTIVE", is_primary_selection=True),
            candidate(2, 2, APPLE, jurisdiction="NO", entity_status="active", is_primary_selection=False),
            candidate(3, 3, INTEL, jurisdiction="NO", entity_status="ACTIVE", is_primary_selection=None),
            candidate(4, 1, INTEL),
            candidate(5, 1, CISCO, jurisdiction="unknown"),
            candidate(6, 3, CISCO, jurisdiction="", entity_status="ACTIVE"),
            candidate(7, 3, CISCO, jurisdiction="NO"),
            candidate(8, 9, CISCO, jurisdiction="DE"),
        ],
    )
    wanted = [("", 1, 1, 1, 0, 1), ("NO", 3, 2, 2, 1, 2), ("unknown", 2, 2, 1, 0, 0)]
    assert computed(conn, "jurisdiction_summaries").rows() == wanted


def test_normalized_domain_is_what_python_makes_of_it(conn: Connection) -> None:
    """Python's lower() has the final sigma too, and its strip() takes any set: a second opinion."""
    white = "".join(hostile.TRIMMED)
    assert len(hostile.TRIMMED) == 25
    insert_source(conn, hostile.hostile_rows().domains, [])
    rows = computed(conn, "domain_exports").select("domain", "domain_hash")
    assert rows.height > 200
    for text, found in rows.iter_rows():
        assert found == md5(text.strip(white).lower()), ascii(text)[:200]
    unique = computed(conn, "unique_domains").select("domain", "domain_hash")
    assert unique["domain_hash"].to_list() == [md5(text) for text in unique["domain"]]


def by_arithmetic(code: str) -> bool:
    if not re.fullmatch(r"[A-Z0-9]{18}[0-9]{2}", code, re.ASCII):
        return False
    return int("".join(str(int(letter, 36)) for letter in code)) % 97 == 1


def test_is_valid_lei_agrees_with_stdnum(conn: Connection, shared_data: Path) -> None:
    with gzip.open(shared_data / "lei_records.csv.gz", "rt", encoding="utf-8", newline="") as file:
        codes = [row["lei_code"] for row in csv.DictReader(file)]
    codes = codes[::25] + [code for code in codes if code.isdigit() or re.fullmatch(r"\d+E\d+", code)]
    with (shared_data / "lei_rejected.csv").open(encoding="utf-8", newline="") as file:
        codes += [row["lei_code"] for row in csv.DictReader(file)]
    codes += [code[:7] + code[8] + code[7] + code[9:] for code in codes[::3]]
    codes = list(dict.fromkeys([*codes, hostile.LEI]))
    insert_source(conn, [domain(1, "a")], [candidate(number, 1, code) for number, code in enumerate(codes)])
    found = dict(computed(conn, "candidate_exports").select("lei_code", "is_valid_lei").iter_rows())
    assert found == {code: stdnum_lei.is_valid(code) for code in codes}
    assert set(found.values()) == {True, False}
    assert found == dict(computed(conn, "entities").select("lei_code", "is_valid_lei").iter_rows())


def test_is_valid_lei_of_odd_codes(conn: Connection) -> None:
    insert_source(conn, [domain(1, "a")], [candidate(number, 1, code) for number, code in enumerate(hostile.ODD_LEIS)])
    found = dict(computed(conn, "candidate_exports").select("lei_code", "is_valid_lei").iter_rows())
    assert found == {code: by_arithmetic(code) for code in hostile.ODD_LEIS}
    valid = [APPLE, CISCO, "300300E1000862000093", "00000000000000000098", "00000000000000000001"]
    assert sorted(code for code, is_valid in found.items() if is_valid) == sorted(valid)


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
    assert hostile.random_rows(seed, 60) == hostile.random_rows(seed, 60)
    insert_source(conn, *hostile.random_rows(seed, 60))
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
        frame(
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
