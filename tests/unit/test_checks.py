"""Each check of content is broken by rows that break it, and its metadata says which."""

import json
from typing import Any

import polars as pl
import pytest

from pipelines.checks.content import CandidateChecks, DomainChecks, find_other_joins
from pipelines.checks.definitions import CANDIDATE_CHECKS, DOMAIN_CHECKS, SUMMED_COUNTS, table_checks
from pipelines.checks.evaluation import TableChecks
from pipelines.contracts.records import CheckRecord
from pipelines.contracts.tables import (
    BATCH_SUMMARIES,
    DERIVED_TABLES,
    ENTITIES,
    JURISDICTION_SUMMARIES,
    UNIQUE_DOMAINS,
    published_tables,
)
from tests.oracle.kit import rows_of
from tests.unit.tables import candidate, derive, domain, with_candidates

pytestmark = pytest.mark.fast

VALID, OTHER_DIGITS = "5493001KJTIIGC8Y1R12", "5493001KJTIIGC8Y1R13"
GOOD = {
    "is_valid_lei": True,
    "entity_status": "ACTIVE",
    "registration_status": "ISSUED",
    "entity_category": "FUND",
    "jurisdiction": "US-DE",
}


def of_candidates(*rows: dict[str, Any]) -> dict[str, CheckRecord]:
    checks = CandidateChecks()
    for row in rows:
        checks.update(rows_of("candidate_exports", row))
    results = {check.name: check for check in checks.results()}
    assert list(results) == [check.name for check in CANDIDATE_CHECKS]
    assert {check.severity for check in results.values()} == {"warn"}
    return results


def of_domains(
    domains: pl.DataFrame, candidates: pl.DataFrame, validated: pl.DataFrame | None = None
) -> dict[str, CheckRecord]:
    checks = DomainChecks()
    none = pl.DataFrame(
        schema={"id": pl.Int64, "reason": pl.String, "domain_hash": pl.String, "computed_hash": pl.String}
    )
    checks.update(none if validated is None else validated, domains, candidates)
    results = {check.name: check for check in checks.results()}
    assert list(results) == [check.name for check in DOMAIN_CHECKS]
    return results


def failed(results: dict[str, CheckRecord]) -> dict[str, dict[str, Any]]:
    return {name: check.metadata for name, check in results.items() if not check.passed}


def test_good_candidates_pass() -> None:
    nulls = dict.fromkeys(("entity_status", "registration_status", "entity_category", "jurisdiction"))
    assert failed(of_candidates(candidate(1, domain(1), VALID, **GOOD), candidate(2, domain(1), **GOOD | nulls))) == {}


@pytest.mark.parametrize("code", ["X", VALID + " ", VALID.lower(), VALID[:19], "5493001KJTIIGC8Y1R1O", f"{VALID}\n"])
def test_an_lei_of_another_format(code: str) -> None:
    results = of_candidates(
        candidate(7, domain(1), code, **GOOD | {"is_valid_lei": False}), candidate(8, domain(1), VALID, **GOOD)
    )
    assert failed(results) == {"lei_format": {"rows_compared": 2, "rows_that_differ": 1, "first_candidate_ids": [7]}}
    assert results["lei_check_digits"].metadata["rows_compared"] == 1


def test_an_lei_with_other_check_digits() -> None:
    rows = [candidate(n, domain(1), OTHER_DIGITS, **GOOD | {"is_valid_lei": False}) for n in range(1, 9)]
    assert failed(of_candidates(*rows)) == {
        "lei_check_digits": {"rows_compared": 8, "rows_that_differ": 8, "first_candidate_ids": [1, 2, 3, 4, 5]}
    }


SHAPES = {"active": "like 'aaaaaa'", "": "like ''", "usa": "like 'aaa'", "DE\n": "like 'AA\\n'"}


@pytest.mark.parametrize(
    ("column", "check", "value"),
    [
        ("entity_status", "entity_status_known", "active"),
        ("registration_status", "registration_status_known", ""),
        ("entity_category", "entity_category_known", "TRUST"),
        ("jurisdiction", "jurisdiction_format", "usa"),
        ("jurisdiction", "jurisdiction_format", "US-"),
        ("jurisdiction", "jurisdiction_format", "US-CALI"),
        ("jurisdiction", "jurisdiction_format", "DE\n"),
    ],
)
def test_an_unknown_value(column: str, check: str, value: str) -> None:
    shown = SHAPES.get(value, value)
    rows = [candidate(n, domain(1), VALID, **GOOD | ({column: value} if n < 3 else {})) for n in range(5)]
    assert failed(of_candidates(*rows)) == {
        check: {"rows": 5, "rows_with_other_values": 3, "other_values": 1, "most_frequent": {shown: 3}}
    }


@pytest.mark.parametrize("jurisdiction", ["NA", "NO", "US-DE", "CA-QC", "GB-ENG", "CN-91"])
def test_a_jurisdiction_of_iso_3166(jurisdiction: str) -> None:
    assert failed(of_candidates(candidate(1, domain(1), VALID, **GOOD | {"jurisdiction": jurisdiction}))) == {}


def test_only_the_most_frequent_unknown_values_are_shown() -> None:
    rows = [candidate(n, domain(1), VALID, **GOOD | {"jurisdiction": f"{n:02d}-" + "X" * 20}) for n in range(30)]
    metadata = failed(of_candidates(*rows, rows[7]))["jurisdiction_format"]
    assert (metadata["rows_with_other_values"], metadata["other_values"]) == (31, 30)
    assert list(metadata["most_frequent"].items())[:2] == [("07-" + "X" * 20, 2), ("00-" + "X" * 20, 1)]
    assert len(metadata["most_frequent"]) == 10


def test_of_a_value_that_is_no_code_only_the_shape_is_shown() -> None:
    rows = [candidate(n, domain(1), VALID, **GOOD | {"jurisdiction": f"Jané Doe {n}" + "!" * 100}) for n in range(3)]
    metadata = failed(of_candidates(*rows))["jurisdiction_format"]
    assert metadata["most_frequent"] == {"like " + repr("Aaaa Aaa 9" + "!" * 30): 3}


# --- domain_exports

OWNER = domain(1)
CANDIDATES = rows_of(
    "candidate_exports",
    candidate(1, OWNER, "A", legal_name="\u00e9; B", jurisdiction="NO", rank_position=1),
    candidate(2, OWNER, "B", legal_name="", entity_status="ACTIVE", rank_position=2),
    candidate(3, domain(-3), "A"),
)
DOMAINS = with_candidates(rows_of("domain_exports", domain(-3), OWNER, domain(2)), CANDIDATES.sort("domain_id"))
ORDERED = CANDIDATES.sort("domain_id", "rank_position")


def test_good_domains_pass() -> None:
    assert failed(of_domains(DOMAINS, ORDERED)) == {}
    assert find_other_joins(DOMAINS.clear(), ORDERED.clear()).to_list() == []
    assert find_other_joins(DOMAINS.filter(pl.col("domain_id") == 2), ORDERED.clear()).to_list() == []


@pytest.mark.parametrize(
    "change",
    [
        {"all_lei_codes": "B; A"},
        {"all_legal_names": "\u00e9; B"},
        {"all_legal_names": "\u00e9; B;  "},
        {"all_legal_names": None},
        {"all_jurisdictions": "NO"},
        {"all_entity_statuses": "ACTIVE; "},
        {"gleif_candidate_count": 3},
        {"lei_codes": ["B", "A"]},
        {"lei_codes": ["A"]},
    ],
    ids=str,
)
def test_a_joined_text_that_is_not_that_of_the_candidates(change: dict[str, Any]) -> None:
    rows = [row | (change if row["domain_id"] == 1 else {}) for row in DOMAINS.to_dicts()]
    results = of_domains(rows_of("domain_exports", *rows), ORDERED)
    assert failed(results) == {
        "joined_texts_agree": {"rows_compared": 3, "rows_that_differ": 1, "first_domain_ids": [1]}
    }
    assert results["joined_texts_agree"].severity == "error"


def test_texts_that_moved_to_the_next_row_are_found() -> None:
    """All texts written one after the other are the same: the bytes per row tell."""
    rows = DOMAINS.with_columns(pl.col("all_lei_codes").shift(1).fill_null(""))
    assert find_other_joins(rows, ORDERED).to_list() == [-3, 1, 2]


def test_another_order_of_the_candidates_is_found() -> None:
    assert find_other_joins(
        DOMAINS, ORDERED.sort("domain_id", "rank_position", descending=[False, True])
    ).to_list() == [1]


def test_a_level2_count_that_is_not_the_number_of_candidates() -> None:
    rows = DOMAINS.with_columns(level2_candidates_count=pl.Series([1, 7, None], dtype=pl.Int32))
    results = of_domains(rows, ORDERED)
    assert failed(results) == {
        "level2_count_agrees": {"rows_compared": 2, "rows_that_differ": 1, "first_domain_ids": [1]}
    }
    assert results["level2_count_agrees"].severity == "warn"


@pytest.mark.parametrize(
    ("code", "compared", "ids"), [("C", 3, [-3, 1, 2]), ("B", 3, [-3, 2]), (" ", 0, []), (None, 0, [])]
)
def test_a_primary_that_is_no_candidate(code: str | None, compared: int, ids: list[int]) -> None:
    rows = DOMAINS.with_columns(primary_lei_code=pl.lit(code, pl.String))
    check = of_domains(rows, ORDERED)["primary_is_candidate"]
    assert (check.passed, check.severity) == (not ids, "warn")
    assert check.metadata == {"rows_compared": compared, "rows_that_differ": len(ids), "first_domain_ids": ids}


def test_a_source_hash_that_is_not_the_computed_one() -> None:
    validated = pl.DataFrame(
        {
            "id": [1, 2, 3, 4],
            "reason": [None, None, None, "missing_status"],
            "domain_hash": ["x", "y", None, "x"],
            "computed_hash": ["x", "x", "x", None],
        }
    )
    assert failed(of_domains(DOMAINS, ORDERED, validated)) == {
        "source_hash_agrees": {"rows_compared": 2, "rows_that_differ": 1, "first_domain_ids": [2]}
    }


def test_what_is_kept_of_values_is_bounded() -> None:
    """The source may hold another value in each row of each segment: 300 bytes a row were kept from run to run."""
    total = CandidateChecks()
    for segment in range(20):
        checks = CandidateChecks()
        values = [f"ODD-{segment}-{number}" for number in range(500)] + ["OFTEN"] * 3
        checks.update(pl.concat([ORDERED.head(1).with_columns(entity_status=pl.lit(value)) for value in values]))
        assert len(json.dumps(checks.state())) < 5_000
        total.add_state(checks.state())
    (check,) = [check for check in total.results() if check.name == "entity_status_known"]
    assert len(json.dumps(total.state())) < 5_000
    assert check.metadata["rows_with_other_values"] == 20 * 503
    assert str(check.metadata["other_values"]).startswith("more than ")
    assert next(iter(check.metadata["most_frequent"].items())) == ("OFTEN", 60)
    assert len(check.metadata["most_frequent"]) == 10


# --- derived tables


@pytest.mark.parametrize(
    ("table", "names"),
    [
        (UNIQUE_DOMAINS, ["result_count_adds_up"]),
        (ENTITIES, ["candidate_count_adds_up"]),
        (BATCH_SUMMARIES, ["result_count_adds_up", "candidate_count_adds_up"]),
        (JURISDICTION_SUMMARIES, ["candidate_count_adds_up"]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_counts_that_do_not_add_up(table: Any, names: list[str]) -> None:
    frame = derive(DOMAINS, ORDERED)[table.name]
    for missing in (0, 1):
        checks = TableChecks(table)
        for rows in (frame.head(1), frame.slice(1)):
            checks.add_sums(rows)
        results = checks.sum_results({"domain_exports": 3 + missing, "candidate_exports": 3 + missing})
        assert [check.name for check in results] == names
        assert [check.passed for check in results] == [not missing] * len(names)
        assert {check.severity for check in results} == {"error"}
        for check in results:
            assert sorted(check.metadata.values()) == [3, 3 + missing]


def test_every_table_names_its_checks_once() -> None:
    for table in published_tables(include_full_data=False):
        names = [check.name for check in table_checks(table)]
        assert len(set(names)) == len(names) >= 4
        assert all(check.table == table.name for check in table_checks(table))
    assert all(set(SUMMED_COUNTS) & set(table.columns) for table in DERIVED_TABLES)
