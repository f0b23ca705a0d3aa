"""The oracle against hand-computed rows and the contracts."""

import json

import polars as pl
import pytest

from pipelines.contracts.source import SOURCE_TABLES
from pipelines.contracts.tables import published_tables
from tests.oracle import expected
from tests.oracle.compare import Expected, assert_same, oracle_frame
from tests.oracle.kit import (
    APPLE,
    CISCO,
    INTEL,
    JULY,
    NO_CANDIDATES,
    Connection,
    candidate,
    computed,
    domain,
    md5,
    rows_of,
)
from tests.oracle.source import insert_source

pytestmark = [pytest.mark.integration, pytest.mark.fast]


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
        rows_of(
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
    wanted = rows_of(
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
