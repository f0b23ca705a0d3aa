"""The rules of unique_domains, entities and the summaries on hand-written rows (DESIGN 4.3 to 4.5)."""

from datetime import datetime
from typing import Any

import polars as pl
import pytest

from tests.oracle.expected import SCHEMAS
from tests.oracle.kit import md5, rows_of
from tests.unit.tables import candidate, derive, domain

pytestmark = pytest.mark.fast

DAY = [datetime(2026, 3, day) for day in range(1, 5)]  # noqa: DTZ001  UTC without zone


def derived(name: str, domains: list[dict[str, Any]], candidates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    frame = derive(rows_of("domain_exports", *domains), rows_of("candidate_exports", *candidates))[name]
    assert frame.schema == SCHEMAS[name]
    return frame.to_dicts()


def test_no_rows_give_no_rows() -> None:
    for name, frame in derive(rows_of("domain_exports"), rows_of("candidate_exports")).items():
        assert frame.schema == SCHEMAS[name]
        assert frame.is_empty()


# --- unique_domains


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"status": "success"}, {"status": "failed", "final_confidence": 99}),
        ({"final_confidence": 2}, {"final_confidence": 1, "confidence_score": 99.0}),
        ({"confidence_score": 1.5}, {"final_confidence": 1}),
        ({"confidence_score": 0.0}, {}),
        # As Float32 both would be 16777216.
        ({"final_confidence": 16_777_217}, {"final_confidence": 16_777_216, "processed_at": DAY[0]}),
        ({"processed_at": DAY[1]}, {"processed_at": DAY[0]}),
        ({"processed_at": DAY[0]}, {}),
        ({"confidence_score": -0.0, "processed_at": DAY[1]}, {"confidence_score": 0.0, "processed_at": DAY[0]}),
        ({"status": "success"}, {"status": "Success", "final_confidence": 99}),
    ],
)
def test_the_best_row_of_a_domain(better: dict[str, Any], worse: dict[str, Any]) -> None:
    for first, second in ((better, worse), (worse, better)):
        rows = [domain(1, company_name=str(first), **first), domain(2, company_name=str(second), **second)]
        (found,) = derived("unique_domains", rows, [])
        assert found["company_name"] == str(better)
        assert found["best_domain_id"] == (1 if first is better else 2)


def test_where_all_is_equal_the_highest_id_is_best() -> None:
    (found,) = derived("unique_domains", [domain(n, batch=f"b{n}") for n in (2, 3, 1)], [])
    assert (found["best_domain_id"], found["best_batch_id"]) == (3, "b3")


def test_a_domain_is_one_whatever_its_case_and_white_space() -> None:
    rows = [
        domain(1, " A.example", "b1", created_at=DAY[1]),
        domain(2, "a.EXAMPLE", "b2", status="failed", created_at=DAY[0], processed_at=DAY[2]),
        domain(3, "a.example", "b2", status="pending"),
    ]
    (found,) = derived("unique_domains", rows, [])
    assert found["domain"] == "a.example"
    assert found["domain_hash"] == md5("a.example")
    assert (found["result_count"], found["batch_count"], found["success_count"], found["failed_count"]) == (3, 2, 1, 1)
    assert (found["first_created_at"], found["last_processed_at"]) == (DAY[0], DAY[2])
    assert (found["distinct_lei_count"], found["all_lei_codes"], found["lei_codes"]) == (0, "", [])


def test_leis_of_a_domain_are_in_order_of_rank_rows_and_code() -> None:
    one, two = domain(1), domain(2, batch="b2")
    candidates = [
        candidate(1, one, "C", rank_position=1),
        candidate(2, one, "B", rank_position=2),
        candidate(3, two, "B", rank_position=1),
        candidate(4, two, "A", rank_position=1),
        candidate(5, two, "Z"),
        candidate(6, two, "-1", rank_position=-1),
    ]
    (found,) = derived("unique_domains", [one, two], candidates)
    assert found["lei_codes"] == ["-1", "B", "A", "C", "Z"]
    assert found["all_lei_codes"] == "-1; B; A; C; Z"
    assert found["distinct_lei_count"] == 5


def test_name_and_status_of_an_lei_are_those_of_its_latest_row_under_the_domain() -> None:
    one, two, other = domain(1), domain(2, batch="b2"), domain(3, "other.example")
    candidates = [
        candidate(9, one, legal_name="no time is oldest", jurisdiction="XX", rank_position=1),
        candidate(2, one, legal_name="older id", created_at=DAY[1], entity_status="ACTIVE"),
        candidate(3, two, legal_name="latest", created_at=DAY[1], jurisdiction="NO"),
        candidate(8, other, legal_name="of another domain", created_at=DAY[3]),
    ]
    found = {row["domain"]: row for row in derived("unique_domains", [one, two, other], candidates)}
    assert found["a.example"]["all_legal_names"] == "latest"
    assert (found["a.example"]["all_jurisdictions"], found["a.example"]["all_entity_statuses"]) == ("NO", "")
    assert found["other.example"]["all_legal_names"] == "of another domain"


def test_unique_domains_are_in_order_of_their_hash() -> None:
    names = [f"{number}.example" for number in range(40)]
    found = derived("unique_domains", [domain(n, name) for n, name in enumerate(names)], [])
    assert [row["domain_hash"] for row in found] == sorted(map(md5, names))


# --- entities


def test_entities() -> None:
    one, two, three = domain(1, "B.example"), domain(2, "b.example", "b2"), domain(3, "a.example", "b2")
    candidates = [
        candidate(1, one, "L1", legal_name="old", created_at=DAY[0], is_primary_selection=True, rank_position=4),
        candidate(2, two, "L1", legal_name="new", created_at=DAY[2], is_primary_selection=False, rank_position=3),
        candidate(3, three, "L1", legal_name="no time", is_primary_selection=True, jurisdiction="NA"),
        candidate(4, three, "L0", is_valid_lei=True),
    ]
    first, second = derived("entities", [one, two, three], candidates)
    assert (first["lei_code"], first["is_valid_lei"], first["best_rank"]) == ("L0", True, None)
    assert (first["domains"], first["first_seen_at"], first["last_seen_at"]) == (["a.example"], None, None)
    assert (second["lei_code"], second["legal_name"], second["jurisdiction"]) == ("L1", "new", None)
    assert second["domains"] == ["a.example", "b.example"]
    counts = ("candidate_count", "domain_count", "batch_count", "primary_count", "best_rank")
    assert [second[name] for name in counts] == [3, 2, 2, 2, 3]
    assert (second["first_seen_at"], second["last_seen_at"]) == (DAY[0], DAY[2])


def test_entities_are_in_order_of_their_code() -> None:
    codes = [f"L{number * 37 % 100:02d}" for number in range(100)]
    found = derived("entities", [domain(1)], [candidate(n, domain(1), code) for n, code in enumerate(codes)])
    assert [row["lei_code"] for row in found] == sorted(codes)


# --- summaries


def test_batch_summaries() -> None:
    rows = [
        domain(1, "a", confidence_score=10.0, processing_time_ms=100, created_at=DAY[1], gleif_candidate_count=1),
        domain(2, "A ", confidence_score=20.0, processing_time_ms=200, primary_lei_code=" ", status="failed"),
        domain(3, "c", confidence_score=60.0, primary_lei_code="L", status="pending", manual_review_required=True),
        domain(4, "d", status="Success", processed_at=DAY[3], manual_review_required=False, primary_lei_code="M"),
        domain(5, "e", batch="-x", status="processing"),
    ]
    candidates = [candidate(1, rows[0], "L1"), candidate(2, rows[0], "L2"), candidate(3, rows[1], "L1")]
    without, found = derived("batch_summaries", rows, candidates)
    assert found == {
        "batch_id": "b1",
        "result_count": 4,
        "unique_domain_count": 3,
        "success_count": 1,
        "failed_count": 1,
        "pending_count": 1,
        "processing_count": 0,
        "other_count": 1,
        "success_pct": 25.0,
        "with_candidates_count": 1,
        "with_candidates_pct": 25.0,
        "candidate_count": 3,
        "distinct_lei_count": 2,
        "with_primary_count": 2,
        "manual_review_count": 1,
        "confidence_score_avg": 30.0,
        "confidence_score_median": 20.0,
        "processing_time_ms_avg": 150.0,
        "processing_time_ms_p95": 195.0,
        "first_created_at": DAY[1],
        "last_processed_at": DAY[3],
    }
    assert (without["batch_id"], without["processing_count"], without["candidate_count"]) == ("-x", 1, 0)
    measures = ("confidence_score_avg", "confidence_score_median", "processing_time_ms_avg", "processing_time_ms_p95")
    assert [without[name] for name in measures] == [None] * 4


def test_a_real_is_averaged_as_float64() -> None:
    rows = [domain(number, confidence_score=score) for number, score in enumerate((85.3, 85.3, 85.4))]
    (found,) = derived("batch_summaries", rows, [])
    scores = pl.Series([85.3, 85.3, 85.4], dtype=pl.Float32).cast(pl.Float64)
    assert found["confidence_score_avg"] == pytest.approx(scores.mean(), rel=1e-15)
    assert found["confidence_score_median"] == scores.median()


def test_jurisdiction_summaries() -> None:
    one, two = domain(1, "a"), domain(2, "A", batch="b2")
    candidates = [
        candidate(1, one, "L1", jurisdiction="NA", entity_status="ACTIVE", is_primary_selection=True),
        candidate(2, two, "L1", jurisdiction="NA", entity_status="active"),
        candidate(3, one, "L2"),
        candidate(4, one, "L3", jurisdiction="unknown"),
        candidate(5, one, "L4", jurisdiction="", entity_status="INACTIVE"),
    ]
    found = derived("jurisdiction_summaries", [one, two], candidates)
    assert [tuple(row.values()) for row in found] == [
        ("", 1, 1, 1, 0, 0),
        ("NA", 2, 1, 1, 1, 1),
        ("unknown", 2, 2, 1, 0, 0),
    ]
