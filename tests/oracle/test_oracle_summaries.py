"""The oracle against hand-computed rows: the tables that are computed from the exports."""

import pytest

from tests.oracle.compare import assert_same
from tests.oracle.kit import (
    APPLE,
    AUGUST,
    CISCO,
    INTEL,
    JULY,
    JUNE,
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
    assert_same(computed(conn, "unique_domains"), rows_of("unique_domains", *wanted))


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
        rows_of(
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
        rows_of(
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
